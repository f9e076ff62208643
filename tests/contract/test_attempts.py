"""Risk: a loop over attempts that is left in any way takes the lock or its place along."""

from __future__ import annotations

import gc
import time

import pytest

from backofflock import AcquireTimeout, Attempt, Constant, ThreadBackoffLock, WaitDetails

from .checks import ASLEEP, Ledger, assert_at_rest, queued, visitor
from .hosts import HOSTS, TASK_HOSTS, Host, pairs
from .subjects import FACES, VARIANTS, Make, Subject
from .worlds import Handle, World

STRICT_ONES = [variant for variant in VARIANTS if variant.strict]


def check_steps(make: Make, host: Host) -> None:
    """One try a step, work in between; the last one acquires, says so, and is entered."""

    async def main(world: World) -> None:
        naps: list[WaitDetails] = []
        subject = make(schedule=Constant(0.001), on_wait=naps.append)
        ledger = Ledger()
        seen: list[Attempt] = []
        work = 0

        async def step(world: World) -> None:
            nonlocal work
            async for attempt in world.attempts(subject):
                seen.append(attempt)
                if attempt:
                    async with attempt:
                        with ledger.visit("stepper"):
                            await world.sleep(0)
                        assert subject.lock.locked()
                else:
                    work += 1

        async with world.hold(subject):
            stepper = world.spawn(step)
            await world.until(lambda: work >= 4, "work between attempts")
        await world.join([stepper])
        assert ledger.visits == ["stepper"]
        assert [attempt.number for attempt in seen] == list(range(1, len(seen) + 1))
        assert [bool(attempt) for attempt in seen] == [False] * work + [True]
        assert [attempt.acquired for attempt in seen] == [bool(attempt) for attempt in seen]
        # What an attempt says it will sleep is what the hook was told.
        assert [attempt.delay for attempt in seen[:-1]] == [nap.delay for nap in naps]
        await assert_at_rest(world, subject)

    host.run(main)


def check_free_lock_at_the_first_attempt(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        subject = make()
        numbers = []
        async for attempt in world.attempts(subject):
            numbers.append(attempt.number)
            assert attempt.acquired
            async with attempt:
                assert subject.lock.locked()
        assert numbers == [1]
        await assert_at_rest(world, subject)

    host.run(main)


def check_success_that_is_not_entered(make: Make, host: Host) -> None:
    """It is given back when the loop is left, however; and the next one in the queue is woken."""

    async def main(world: World) -> None:
        subject = make(schedule=ASLEEP)
        ledger = Ledger()
        kept: list[Attempt] = []
        waiter: list[Handle[None]] = []

        async def leave(world: World, way: str) -> None:
            async for attempt in world.attempts(subject):
                kept.append(attempt)
                if attempt:
                    waiter.append(world.spawn(visitor(subject, ledger, way)))
                    await queued(world, subject, 1)
                if way == "break":
                    break
                if way == "error":
                    raise LookupError
                if way == "return":
                    return

        for way in ("break", "error", "return", "go on"):
            waiter.clear()
            if way == "error":
                with pytest.raises(LookupError):
                    await leave(world, way)
            else:
                await leave(world, way)
            await world.join(waiter)
            with pytest.raises(RuntimeError, match="cannot be entered"):
                kept[-1].__enter__()
            await assert_at_rest(world, subject)
        assert ledger.visits == ["break", "error", "return", "go on"]

    host.run(main)


def check_what_cannot_be_entered(make: Make, host: Host) -> None:
    """A failed attempt, and one entered before; the error changes nothing."""

    async def main(world: World) -> None:
        subject = make(schedule=Constant(0.001))
        failed: list[Attempt] = []

        async def step(world: World) -> None:
            async for attempt in world.attempts(subject):
                if attempt:
                    async with attempt:
                        with pytest.raises(RuntimeError, match="cannot be entered"):
                            await attempt.__aenter__()
                        assert subject.lock.locked()
                    with pytest.raises(RuntimeError, match="cannot be entered"):
                        await attempt.__aenter__()
                else:
                    with pytest.raises(RuntimeError, match="cannot be entered"):
                        await attempt.__aenter__()
                    failed.append(attempt)

        async with world.hold(subject):
            stepper = world.spawn(step)
            await world.until(lambda: failed, "a failed attempt")
        await world.join([stepper])
        await assert_at_rest(world, subject)

    host.run(main)


def check_limits(make: Make, host: Host) -> None:
    """The loop raises where a further try would pass a limit, and its body never runs again."""

    async def main(world: World) -> None:
        subject = make(schedule=Constant(0.001))

        async def step(world: World, seen: list[Attempt], **limits: float) -> None:
            async for attempt in world.attempts(subject, **limits):
                seen.append(attempt)

        async def fail(world: World, **limits: float) -> AcquireTimeout:
            seen: list[Attempt] = []
            with pytest.raises(AcquireTimeout) as caught:
                await step(world, seen, **limits)
            # The try that meets the limit raises and is not handed out.
            assert [attempt.number for attempt in seen] == list(range(1, caught.value.attempts))
            assert not any(seen)
            return caught.value

        async def bounded(world: World) -> None:
            assert (await fail(world, max_attempts=3)).attempts == 3
            assert (await fail(world, timeout=0)).attempts == 1
            assert (await fail(world, timeout=0.005)).waited >= 0.005 - 1e-6

        async with world.hold(subject):
            await world.join([world.spawn(bounded)])
            assert subject.waiting() == 0
        await assert_at_rest(world, subject)

    host.run(main)


def check_deadline_holds_after_other_work(make: Make, host: Host) -> None:
    """The nap begins after the work in between, and still ends at the deadline."""

    async def main(world: World) -> None:
        subject = make(schedule=ASLEEP)

        async def step(world: World) -> float:
            begin = time.monotonic()
            try:
                async for _ in world.attempts(subject, timeout=0.240):
                    await world.sleep(0.210)
            except AcquireTimeout:
                return time.monotonic() - begin
            raise AssertionError("the loop ended")

        async with world.hold(subject):
            times = sorted([(await world.join([world.spawn(step)]))[0] for _ in range(2)])
        # A nap that ignored the work would end after 450 ms both times, a stall comes once.
        assert 0.240 - 1e-6 <= times[0] < 0.400, times
        await assert_at_rest(world, subject)

    host.run(main)


def check_cancelled_between_attempts(make: Make, host: Host) -> None:
    """At its work or in its nap, woken or not: it leaves, and the wake-up goes to the next one."""

    async def main(world: World) -> None:
        for at_work in (True, False):
            subject = make(schedule=ASLEEP)
            ledger = Ledger()

            async def step(
                world: World, subject: Subject = subject, at_work: bool = at_work
            ) -> None:
                async for _ in world.attempts(subject):
                    if at_work:
                        await world.sleep(30.0)

            assert await world.acquire(subject)
            stepper = world.spawn(step)
            await queued(world, subject, 1)
            waiter = world.spawn(visitor(subject, ledger))
            await queued(world, subject, 2)
            world.release(subject)
            stepper.cancel()
            await world.join([stepper, waiter])
            assert ledger.visits == ["visitor"]
            await assert_at_rest(world, subject)

    host.run(main)


def check_dawdler_costs_the_next_little(make: Make, host: Host) -> None:
    """A stepper whose turn comes while it does other work is passed over: within 100 ms."""

    async def main(world: World) -> None:
        subject = make()
        delays = []
        released = 0.0

        async def dawdle(world: World) -> None:
            async for attempt in world.attempts(subject):
                await world.until(lambda: over, "the end of the work")
                if attempt:
                    async with attempt:
                        pass

        async def next_one(world: World) -> None:
            async with world.hold(subject):
                delays.append(time.monotonic() - released)

        for _ in range(5):
            over = False
            assert await world.acquire(subject)
            dawdler = world.spawn(dawdle)
            await queued(world, subject, 1)
            second = world.spawn(next_one)
            await queued(world, subject, 2)
            released = time.monotonic()
            world.release(subject)
            await world.join([second])
            over = True
            await world.join([dawdler])
        delays.sort()
        assert delays[-2] < 0.100, delays  # one may have met a stall of the machine
        assert delays[-1] < 0.500, delays
        await assert_at_rest(world, subject)

    host.run(main)


@pairs(VARIANTS)
def test_steps(make: Make, host: Host) -> None:
    check_steps(make, host)


@pairs(VARIANTS)
def test_free_lock_at_the_first_attempt(make: Make, host: Host) -> None:
    check_free_lock_at_the_first_attempt(make, host)


@pairs(STRICT_ONES, HOSTS)
def test_success_that_is_not_entered(make: Make, host: Host) -> None:
    check_success_that_is_not_entered(make, host)


@pairs(FACES)
def test_what_cannot_be_entered(make: Make, host: Host) -> None:
    check_what_cannot_be_entered(make, host)


@pairs(VARIANTS)
def test_limits(make: Make, host: Host) -> None:
    check_limits(make, host)


@pairs(FACES)
def test_deadline_holds_after_other_work(make: Make, host: Host) -> None:
    check_deadline_holds_after_other_work(make, host)


@pairs(STRICT_ONES, TASK_HOSTS)
def test_cancelled_between_attempts(make: Make, host: Host) -> None:
    check_cancelled_between_attempts(make, host)


@pairs(FACES)
def test_dawdler_costs_the_next_little(make: Make, host: Host) -> None:
    check_dawdler_costs_the_next_little(make, host)


def test_iterator_that_is_dropped_unused_or_closed() -> None:
    lock = ThreadBackoffLock(ASLEEP)
    unused = lock.attempts()
    del unused
    with lock:
        steps = lock.attempts()
        assert not next(steps)
        assert lock.statistics().tasks_waiting == 1
        steps.close()
        assert lock.statistics().tasks_waiting == 0
        assert list(steps) == []
        dropped = lock.attempts()
        assert not next(dropped)
        del dropped
        gc.collect()  # for interpreters that do not count references
        assert lock.statistics().tasks_waiting == 0
    assert not lock.locked()
