"""Risk: a limit that is passed, forgotten, or counted wrongly; a nap that outlasts the deadline."""

from __future__ import annotations

import random
import statistics
import time
from datetime import timedelta

import pytest

from backofflock import (
    AcquireTimeout,
    BackoffLock,
    Constant,
    Exponential,
    Spin,
    ThreadBackoffLock,
    WaitDetails,
)

from .checks import ASLEEP, assert_at_rest, queued
from .hosts import LOOPS, ON_MIXED, ON_THREADS, Host, pairs
from .subjects import FACES, OVER_FACE, OVER_LOCK, STRICT, THREADS, VARIANTS, Make, Subject
from .worlds import World

SLACK = 0.020
"""Seconds that a nap may end later than a plain sleep of the same length does."""

ROUNDING = 1e-6
"""Seconds lost in adding a timeout to the clock and taking it off again, at the most."""

STALL = 0.5
"""Seconds that a busy machine may take from a thread that wants to run."""


def assert_late_as_a_sleep(late: list[float], sleeps: list[float]) -> None:
    """Compare waits that reached their limit with plain sleeps; both lists are seconds of lateness.

    A busy machine ends naps and sleeps late alike: so the medians are compared, and none may be
    later than the machine ever stalls.
    """
    assert min(late) >= -ROUNDING, late
    assert max(late) < STALL, late
    assert statistics.median(late) < statistics.median(sleeps) + SLACK, (late, sleeps)


async def give_up(world: World, subject: Subject) -> AcquireTimeout:
    """Return the error of an acquire that must reach its limit."""
    with pytest.raises(AcquireTimeout) as caught:
        async with world.hold(subject):
            pass
    return caught.value


def check_deadline_clips_the_last_nap(make: Make, host: Host) -> None:
    """The waiter sleeps until its deadline, not for the thirty seconds of its schedule."""
    timeout = 0.020
    late: list[float] = []
    sleeps: list[float] = []

    async def main(world: World) -> None:
        naps: list[WaitDetails] = []
        subject = make(schedule=ASLEEP, timeout=timeout, name="orders", on_wait=naps.append)

        async def wait(world: World) -> None:
            begin = time.monotonic()
            error = await give_up(world, subject)
            late.append(time.monotonic() - begin - timeout)
            assert error.lock == "orders"
            assert error.reason == f"timeout={timeout}"
            assert error.waited >= timeout - ROUNDING
            assert error.attempts >= 2
            assert isinstance(error, TimeoutError)
            begin = time.monotonic()
            await world.sleep(timeout)
            sleeps.append(time.monotonic() - begin - timeout)

        async with world.hold(subject):
            for _ in range(5):
                await world.join([world.spawn(wait)])
            assert subject.waiting() == 0
        for nap in naps:
            assert nap.remaining is not None
            assert nap.delay <= nap.remaining <= timeout + ROUNDING, nap
        assert subject.lock.statistics().timeouts == 5
        await assert_at_rest(world, subject)

    host.run(main)
    assert_late_as_a_sleep(late, sleeps)


def check_last_try_at_the_deadline(make: Make, host: Host) -> None:
    """Nobody wakes the waiter: it finds the freed key by one more try at its deadline."""
    timeout = 0.050

    async def main(world: World) -> None:
        def release(_: WaitDetails) -> None:
            assert subject.direct is not None
            subject.direct.release()

        subject = make(schedule=ASLEEP, wake_on_release=False, timeout=timeout, on_wait=release)
        waited: list[float] = []

        async def wait(world: World) -> None:
            begin = time.monotonic()
            async with world.hold(subject):
                waited.append(time.monotonic() - begin)

        assert subject.direct is not None
        assert subject.direct.acquire(False)
        await world.join([world.spawn(wait)])  # its hook releases, just before its nap
        assert waited[0] >= timeout - ROUNDING, "it was woken: this shows nothing"
        await assert_at_rest(world, subject)

    host.run(main)


def check_zero_is_one_try(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        naps: list[WaitDetails] = []
        subject = make(schedule=ASLEEP, timeout=0, on_wait=naps.append)

        async def fail(world: World) -> None:
            error = await give_up(world, subject)
            assert error.attempts == 1
            assert error.reason == "timeout=0.0"

        async with world.hold(subject):  # a free lock is to be had at the first try
            await world.join([world.spawn(fail)])
            assert subject.waiting() == 0
        assert naps == []
        await assert_at_rest(world, subject)

    host.run(main)


def check_max_attempts_counts_tries(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        for limit in (1, 2, 5):
            naps: list[WaitDetails] = []
            subject = make(schedule=Constant(0.001), max_attempts=limit, on_wait=naps.append)

            async def fail(world: World, subject: Subject = subject, limit: int = limit) -> None:
                error = await give_up(world, subject)
                assert error.attempts == limit
                assert error.reason == f"max_attempts={limit}"

            async with world.hold(subject):
                await world.join([world.spawn(fail)])
                assert subject.waiting() == 0
            assert [nap.attempt for nap in naps] == list(range(1, limit))
            assert subject.lock.statistics().attempts == limit
            await assert_at_rest(world, subject)

    host.run(main)


def check_the_schedule_may_give_up(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        subject = make(schedule=Spin().take(3))

        async def fail(world: World) -> None:
            error = await give_up(world, subject)
            assert error.attempts == 4  # a try before each delay and one after the last
            assert error.reason == "the schedule is exhausted"

        async with world.hold(subject):
            await world.join([world.spawn(fail)])
        await assert_at_rest(world, subject)

    host.run(main)


def check_slow_hook_does_not_move_the_deadline(make: Make, host: Host) -> None:
    """The nap that was clipped to the deadline begins after the hook, and still ends in time."""
    timeout, hook = 0.080, 0.070

    async def main(world: World) -> None:
        subject = make(
            schedule=ASLEEP,
            timeout=timeout,
            on_wait=lambda _: time.sleep(hook),
        )

        async def wait(world: World) -> float:
            begin = time.monotonic()
            await give_up(world, subject)
            return time.monotonic() - begin

        async with world.hold(subject):
            times = sorted([(await world.join([world.spawn(wait)]))[0] for _ in range(2)])
        # A nap that ignored the hook would end after 150 ms both times, a stall comes once.
        assert timeout - ROUNDING <= times[0] < timeout + hook / 2, times
        await assert_at_rest(world, subject)

    host.run(main)


def check_no_nap_passes_the_deadline(make: Make, host: Host) -> None:
    """Many waiters, each with a timeout of its own and naps that grow with its place.

    In three batches: a stall is over within one, and so leaves the medians alone.
    """
    rng = random.Random(7)

    async def main(world: World) -> None:
        subject = make(schedule=Exponential(0.005, cap=10.0))
        late: list[float] = []
        sleeps: list[float] = []

        async def wait(world: World) -> None:
            timeout = rng.uniform(0.010, 0.070)
            begin = time.monotonic()
            assert not await world.acquire(subject, timeout)
            late.append(time.monotonic() - begin - timeout)

        async def sleep(world: World) -> None:
            timeout = rng.uniform(0.010, 0.070)
            begin = time.monotonic()
            await world.sleep(timeout)
            sleeps.append(time.monotonic() - begin - timeout)

        async with world.hold(subject):
            for _ in range(3):
                await world.join([world.spawn(each) for _ in range(8) for each in (wait, sleep)])
                assert subject.waiting() == 0
        assert_late_as_a_sleep(late, sleeps)
        await assert_at_rest(world, subject)

    host.run(main)


def check_call_overrides_constructor(make: Make, host: Host) -> None:
    """The limits of a call stand in for the constructor's; ``None`` is none; timedelta does."""

    async def main(world: World) -> None:
        subject = make(schedule=Constant(0.001), timeout=0, name="orders")
        lock = subject.lock
        acquire = lock.acquire if isinstance(lock, BackoffLock) else lock.acquire_async

        async def patient(world: World) -> None:
            await acquire(timeout=None)
            world.release(subject)

        async def bounded(world: World) -> None:
            with pytest.raises(AcquireTimeout, match="orders") as caught:
                await acquire(timeout=timedelta(milliseconds=5))
            assert caught.value.waited >= 0.005 - ROUNDING
            with pytest.raises(AcquireTimeout) as caught:
                await acquire(timeout=None, max_attempts=2)
            assert caught.value.attempts == 2

        async with lock:
            waiter = world.spawn(patient)
            await queued(world, subject, 1)
            await world.join([world.spawn(bounded)])
        await world.join([waiter])
        await assert_at_rest(world, subject)

    host.run(main)


@pairs(FACES)
def test_deadline_clips_the_last_nap(make: Make, host: Host) -> None:
    check_deadline_clips_the_last_nap(make, host)


@pairs([OVER_LOCK, OVER_FACE, THREADS], [*LOOPS, ON_THREADS, ON_MIXED])
def test_last_try_at_the_deadline(make: Make, host: Host) -> None:
    check_last_try_at_the_deadline(make, host)


@pairs(VARIANTS)
def test_zero_is_one_try(make: Make, host: Host) -> None:
    check_zero_is_one_try(make, host)


@pairs(VARIANTS)
def test_max_attempts_counts_tries(make: Make, host: Host) -> None:
    check_max_attempts_counts_tries(make, host)


@pairs(FACES)
def test_the_schedule_may_give_up(make: Make, host: Host) -> None:
    check_the_schedule_may_give_up(make, host)


@pairs(FACES, [*LOOPS, ON_THREADS])
def test_slow_hook_does_not_move_the_deadline(make: Make, host: Host) -> None:
    check_slow_hook_does_not_move_the_deadline(make, host)


@pairs([*FACES, STRICT])
def test_no_nap_passes_the_deadline(make: Make, host: Host) -> None:
    check_no_nap_passes_the_deadline(make, host)


@pairs(FACES, LOOPS)
def test_call_overrides_constructor(make: Make, host: Host) -> None:
    check_call_overrides_constructor(make, host)


@pairs([THREADS], [ON_THREADS])
def test_blocking_acquire_returns_false_at_its_limit(make: Make, host: Host) -> None:
    """As `threading.Lock` does, whichever limit it is."""

    async def main(world: World) -> None:
        for options in ({"timeout": 0.005}, {"max_attempts": 2}):
            lock = make(schedule=Constant(0.001), **options).lock
            assert isinstance(lock, ThreadBackoffLock)
            with lock:
                assert lock.acquire() is False
                begin = time.monotonic()
                assert lock.acquire(timeout=timedelta(milliseconds=2)) is False
                assert time.monotonic() - begin < STALL
                assert lock.acquire(timeout=0) is False
                assert lock.acquire(blocking=False) is False
            assert not lock.locked()

    host.run(main)
