"""Risk: a waiter or owner whose event loop is closed, blocked or gone holds the others up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from backofflock import DEFAULT_SCHEDULE, Attempt, BackoffLock, OwnerDied, WaitDetails

from .checks import ASLEEP, Ledger, assert_at_rest, queued, visitor
from .hosts import LOOPS, ON_ASYNCIO, ON_THREADS, ON_TRIO, ON_UVLOOP, Host, elsewhere, pairs
from .subjects import (
    FACES,
    OVER_FACE,
    OVER_LOCK,
    STRICT,
    TASKS,
    TASKS_SLEEP_OUT,
    THREADS_SLEEP_OUT,
    Make,
    Subject,
)
from .task_worlds import AsyncioWorld, TrioWorld
from .worlds import World

LIMIT = 0.100
"""Seconds that a dead or blocked waiter may cost the next one."""


class NoLuck:
    """A source of randomness that makes every jittered delay the longest it can be."""

    def random(self) -> float:
        return 0.0


def run_and_forget(host: Host, subject: Subject) -> AsyncIterator[Attempt]:
    """Leave a waiter in the queue whose loop has ended: its iterator outlives the run."""
    left: list[AsyncIterator[Attempt]] = []

    async def step_once(world: World) -> None:
        steps = world.attempts(subject)
        assert not await anext(steps)
        left.append(steps)

    # The caller may be in a loop of its own, so a thread.
    thread = threading.Thread(target=host.run, args=(step_once,))
    thread.start()
    thread.join()
    assert subject.waiting() == 1
    return left[0]


def check_blocked_loop_costs_the_next_little(make: Make, host: Host, blocked: Host) -> None:
    """The first waiter's loop is blocked for a second when its turn comes.

    The release hits the next waiter at the worst moments: at the start of its longest nap, and
    shortly before the end of one, when it tries too early. All but one of the waits must keep the
    limit; that one may have met a stall of the machine.
    """

    async def main(world: World) -> None:
        naps: list[WaitDetails] = []
        subject = make(rng=NoLuck(), on_wait=naps.append)
        longest = 2 * max(DEFAULT_SCHEDULE.take(20).delays(NoLuck()))
        delays: list[float] = []
        released = 0.0

        async def next_one(world: World) -> None:
            async with world.hold(subject):
                delays.append(time.monotonic() - released)

        with elsewhere(blocked) as there:
            assert isinstance(there, AsyncioWorld | TrioWorld)
            for turn in range(4):
                assert await world.acquire(subject)
                first = there.spawn(visitor(subject, Ledger()))
                await queued(world, subject, 1)
                second = world.spawn(next_one, "next")
                await queued(world, subject, 2)
                is_blocked, go_on = threading.Event(), threading.Event()

                def block(
                    begun: threading.Event = is_blocked, end: threading.Event = go_on
                ) -> None:
                    begun.set()
                    end.wait(1.0)

                naps.clear()
                await world.until(
                    lambda: any(n.waiter == "next" and n.delay > 0.9 * longest for n in naps),
                    "the next one's longest nap",
                )
                there.call_soon(block)
                await world.until(is_blocked.is_set, "the block")
                await world.sleep((longest - 0.008) * (turn % 2))
                released = time.monotonic()
                world.release(subject)
                await world.join([second])
                go_on.set()
                await world.join([first])
        delays.sort()
        assert delays[-2] < LIMIT, delays
        assert delays[-1] < 5 * LIMIT, delays
        await assert_at_rest(world, subject)

    host.run(main)


def check_closed_loop_costs_the_next_little(make: Make, host: Host, closed: Host) -> None:
    async def main(world: World) -> None:
        subject = make(rng=NoLuck())
        delays: list[float] = []
        released = 0.0

        async def next_one(world: World) -> None:
            async with world.hold(subject):
                delays.append(time.monotonic() - released)

        for _ in range(5):
            assert await world.acquire(subject)
            steps = run_and_forget(closed, subject)
            second = world.spawn(next_one)
            await queued(world, subject, 2)
            released = time.monotonic()
            world.release(subject)
            await world.join([second])
            del steps  # where nobody is woken, nobody has found out that it is dead
            await queued(world, subject, 0)
        delays.sort()
        assert delays[-2] < LIMIT, delays
        assert delays[-1] < 5 * LIMIT, delays
        await assert_at_rest(world, subject)

    host.run(main)


def check_waking_a_closed_loop_drops_the_waiter(make: Make, host: Host, closed: Host) -> None:
    """It fails quietly, and the wake-up goes to the next one, whose naps outlast the test."""

    async def main(world: World) -> None:
        subject = make(schedule=ASLEEP)
        for others in (0, 1):
            assert await world.acquire(subject)
            steps = run_and_forget(closed, subject)
            handles = [world.spawn(visitor(subject, Ledger())) for _ in range(others)]
            await queued(world, subject, 1 + others)
            world.release(subject)
            await world.join(handles)
            await assert_at_rest(world, subject)
            del steps
        await assert_at_rest(world, subject)

    host.run(main)


def check_newcomer_passes_a_closed_loop(make: Make, host: Host, closed: Host) -> None:
    """Nobody is awake in the queue, and the key is free: a newcomer need not wait for it."""

    async def main(world: World) -> None:
        subject = make()
        assert await world.acquire(subject)
        steps = run_and_forget(closed, subject)
        world.release(subject)
        begin = time.monotonic()
        await world.until(lambda: world.try_once(subject), "the key")
        assert time.monotonic() - begin < 2 * LIMIT  # a stall of the machine included
        world.release(subject)
        del steps
        await assert_at_rest(world, subject)

    host.run(main)


def check_owner_died(make: Make, host: Host, owners: Host) -> None:
    """Whoever waits is told, whoever comes is told, and none of them stays in the queue."""

    async def main(world: World) -> None:
        subject = make(name="orders")
        over = False
        holding = False

        async def own(world: World) -> None:
            nonlocal holding
            await world.acquire(subject)
            holding = True
            await world.until(lambda: over, "the end")

        async def wait(world: World) -> OwnerDied:
            with pytest.raises(OwnerDied) as caught:
                await world.acquire(subject)
            assert isinstance(caught.value, RuntimeError)
            return caught.value

        with elsewhere(owners) as there:
            owner = there.spawn(own, "the-owner")
            await world.until(lambda: holding, "the owner's acquire")
            waiters = [world.spawn(wait) for _ in range(3)]
            await queued(world, subject, 3)
            over = True
            await world.join([owner])
            errors = await world.join([*waiters, world.spawn(wait)])
        # The first ones were told before their owner's loop ended, these come after.
        errors += await world.join([world.spawn(wait) for _ in range(2)])
        for error in errors:
            assert (error.lock, error.owner) == ("orders", "the-owner")
            assert error.attempts >= 1
            assert error.waited >= 0.0
        assert subject.waiting() == 0
        assert subject.lock.locked(), "what it protects may be half changed"

    host.run(main)


DEAD = pytest.mark.parametrize("dead", [ON_ASYNCIO, ON_TRIO], ids=lambda dead: f"{dead.name}-dead")
CLOSED = pytest.mark.parametrize(
    "dead",
    [
        pytest.param(
            host,
            id=f"{host.name}-dead",
            marks=pytest.mark.skipif(host.missing is not None, reason=host.missing or ""),
        )
        for host in (ON_ASYNCIO, ON_UVLOOP, ON_TRIO)
    ],
)
NEXT = (ON_THREADS, ON_ASYNCIO, ON_TRIO)


@DEAD
@pairs(FACES, NEXT)
def test_blocked_loop_costs_the_next_little(make: Make, host: Host, dead: Host) -> None:
    check_blocked_loop_costs_the_next_little(make, host, dead)


@CLOSED
@pairs([*FACES, OVER_LOCK, TASKS_SLEEP_OUT, THREADS_SLEEP_OUT], NEXT)
def test_closed_loop_costs_the_next_little(make: Make, host: Host, dead: Host) -> None:
    check_closed_loop_costs_the_next_little(make, host, dead)


@CLOSED
@pairs([*FACES, OVER_LOCK, OVER_FACE, STRICT], NEXT)
def test_waking_a_closed_loop_drops_the_waiter(make: Make, host: Host, dead: Host) -> None:
    check_waking_a_closed_loop_drops_the_waiter(make, host, dead)


@CLOSED
@pairs([TASKS, THREADS_SLEEP_OUT, STRICT], NEXT)
def test_newcomer_passes_a_closed_loop(make: Make, host: Host, dead: Host) -> None:
    check_newcomer_passes_a_closed_loop(make, host, dead)


@CLOSED
@pairs([TASKS, OVER_LOCK, TASKS_SLEEP_OUT], LOOPS)
def test_owner_died(make: Make, host: Host, dead: Host) -> None:
    check_owner_died(make, host, dead)


def test_owner_died_with_its_loop() -> None:
    """The owner has not finished and never will: its loop is closed."""
    lock = BackoffLock(name="orders")

    async def own() -> None:
        await lock.acquire()
        await asyncio.get_running_loop().create_future()

    loop = asyncio.new_event_loop()
    task = loop.create_task(own(), name="the-owner")
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert lock.locked()
    assert not task.done()
    with pytest.raises(OwnerDied, match="the-owner"):
        asyncio.run(lock.acquire())
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant to be so
