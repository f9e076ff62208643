"""Risk: somebody has left, and the queue does not know; the wait that failed costs the next one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from backofflock import AcquireTimeout, Constant, WaitDetails

from .checks import ASLEEP, Ledger, assert_at_rest, queued, visitor
from .hosts import LOOPS, TASK_HOSTS, Host, pairs
from .subjects import THREADS, VARIANTS, Make, Subject
from .worlds import World

Leave = Callable[[World, Subject], Coroutine[Any, Any, None]]
Way = tuple[Leave, dict[str, Any]]
"""How a waiter leaves, and the options of the lock that it takes."""


class HookError(Exception):
    """What a hook raises."""


class BodyError(Exception):
    """What the body of a loop over attempts raises."""


def fails_at(attempt: int) -> Callable[[WaitDetails], None]:
    """Return a hook that raises before the nap after so many tries."""

    def hook(details: WaitDetails) -> None:
        if details.attempt >= attempt:
            raise HookError

    return hook


async def by_timeout(world: World, subject: Subject) -> None:
    assert not await world.acquire(subject, timeout=0.002)


async def by_the_limit_of_the_lock(world: World, subject: Subject) -> None:
    with pytest.raises(AcquireTimeout):
        async with world.hold(subject):
            pass


async def by_an_error_of_the_hook(world: World, subject: Subject) -> None:
    with pytest.raises(HookError):
        async with world.hold(subject):
            pass


async def by_break(world: World, subject: Subject) -> None:
    async for attempt in world.attempts(subject):
        if attempt.number == 2:
            break


async def by_an_error_between_attempts(world: World, subject: Subject) -> None:
    async def fail() -> None:
        async for attempt in world.attempts(subject):
            if attempt.number == 2:
                raise BodyError

    with pytest.raises(BodyError):
        await fail()


async def by_the_limit_of_attempts(world: World, subject: Subject) -> None:
    with pytest.raises(AcquireTimeout):
        async for _ in world.attempts(subject, max_attempts=2):
            pass


WAYS: list[Way] = [
    (by_timeout, {}),
    (by_the_limit_of_the_lock, {"timeout": 0.002}),
    (by_the_limit_of_the_lock, {"max_attempts": 1}),
    (by_the_limit_of_the_lock, {"max_attempts": 3}),
    (by_the_limit_of_the_lock, {"schedule": Constant(0.001).take(2)}),
    (by_an_error_of_the_hook, {"on_wait": fails_at(1)}),
    (by_an_error_of_the_hook, {"on_wait": fails_at(3)}),
    (by_break, {}),
    (by_an_error_between_attempts, {}),
    (by_the_limit_of_attempts, {}),
]


def check_leaving(make: Make, host: Host, ways: Sequence[Way] = WAYS) -> None:
    """Several leave at once, while the lock is held; the queue is empty as soon as they have."""

    async def main(world: World) -> None:
        for leave, options in ways:
            subject = make(**{"schedule": Constant(0.001), **options})

            async def contend(
                world: World, subject: Subject = subject, leave: Leave = leave
            ) -> None:
                await leave(world, subject)

            async with world.hold(subject):
                name = f"{leave.__name__} {options}"
                await world.join([world.spawn(contend, name) for _ in range(4)])
                assert subject.waiting() == 0, name
            await assert_at_rest(world, subject)

    host.run(main)


def check_cancelled_leaves(make: Make, host: Host) -> None:
    """From a plain wait and from between two attempts."""

    async def main(world: World) -> None:
        subject = make()
        ledger = Ledger()

        async def step(world: World) -> None:
            async for _ in world.attempts(subject):
                await world.sleep(0.001)

        async with world.hold(subject):
            handles = [world.spawn(visitor(subject, ledger)), world.spawn(step)]
            await queued(world, subject, 2)
            for handle in handles:
                handle.cancel()
            await world.join(handles)
            assert subject.waiting() == 0
        assert ledger.visits == []
        await assert_at_rest(world, subject)

    host.run(main)


def check_failing_hook_passes_the_wake_up_on(make: Make, host: Host) -> None:
    """A woken waiter finds itself overtaken, its hook releases the lock, and raises.

    The key is free then, and the wake-up was for a waiter that leaves: the next one must get it.
    """

    async def main(world: World) -> None:
        ledger = Ledger()

        def release_and_fail(details: WaitDetails) -> None:
            if details.attempt == 2:
                subject.lock.release()
                raise HookError

        subject = make(schedule=ASLEEP, fair_after=None, on_wait=release_and_fail)

        async def fail(world: World) -> None:
            with pytest.raises(HookError):
                async with world.hold(subject):
                    pass

        assert await world.acquire(subject)
        first = world.spawn(fail)
        await queued(world, subject, 1)
        second = world.spawn(visitor(subject, ledger))
        await queued(world, subject, 2)
        world.release(subject)
        assert world.try_once(subject), "nothing is reserved, so it can be taken back"
        await world.join([first, second])
        assert ledger.visits == ["visitor"]
        await assert_at_rest(world, subject)

    host.run(main)


@pairs()
def test_leaving(make: Make, host: Host) -> None:
    check_leaving(make, host)


@pairs(VARIANTS, TASK_HOSTS)
def test_cancelled_leaves(make: Make, host: Host) -> None:
    check_cancelled_leaves(make, host)


@pairs([THREADS], LOOPS)
def test_failing_hook_passes_the_wake_up_on(make: Make, host: Host) -> None:
    check_failing_hook_passes_the_wake_up_on(make, host)
