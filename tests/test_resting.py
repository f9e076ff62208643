"""Waiters at rest: one that joins behind another leaves the tries to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from backofflock import (
    AcquireTimeout,
    BackoffLock,
    Constant,
    OwnerDied,
    Spin,
    ThreadBackoffLock,
)
from backofflock._contention import GRACE
from backofflock._hosts._asyncio import AsyncioWaiter
from backofflock._waiter import NEVER, REST, Pledge
from backofflock.testing import no_backoff

from .virtual import VirtualWaiter, World, acquires, ignore, taken

Policy = Generator[float, None, None]


class Loop:
    """A world with a holder, and waiters that share the pledge of one event loop."""

    def __init__(self, **options: Any) -> None:
        self.world = World(**options)
        self.pledge = Pledge()
        self.policies: list[Policy] = []  # one that is dropped leaves the queue
        assert self.world.take()

    def waiter(self) -> VirtualWaiter:
        return self.world.waiter(pledge=self.pledge)

    def join(self, **limits: Any) -> tuple[Policy, float]:
        """Let one more wait; return its policy and its first nap."""
        policy = self.world.contend(self.waiter(), **limits)
        self.policies.append(policy)
        return policy, next(policy)


def test_the_first_naps_by_the_schedule_and_the_others_rest() -> None:
    loop = Loop()
    assert [loop.join()[1] for _ in range(3)] == [1.0, NEVER, NEVER]


def test_one_behind_another_loop_or_thread_rests_too() -> None:
    loop = Loop()
    thread = loop.world.contend(loop.world.waiter())
    assert next(thread) == 1.0
    assert [loop.join()[1] for _ in range(2)] == [NEVER, NEVER]


def test_one_that_nobody_looks_after_rests_for_its_place_in_the_queue() -> None:
    world = taken()
    waiters = [world.waiter() for _ in range(4)]
    policies = [world.contend(waiter) for waiter in waiters]
    rests = [2 * REST, 3 * REST, 4 * REST]
    assert [next(policy) for policy in policies] == pytest.approx([1.0, *rests])
    promises = [waiter.pledge.promise - world.clock.now for waiter in waiters]
    assert promises == pytest.approx([1.0, *rests])


def test_one_that_nobody_looks_after_rests_for_no_longer_than_its_time_limit() -> None:
    world = taken()
    first, second = world.waiter(), world.waiter()
    policies = [world.contend(first), world.contend(second, timeout=REST)]
    assert [next(policy) for policy in policies] == [1.0, pytest.approx(REST)]
    assert second.pledge.promise == pytest.approx(world.clock.now + REST)


def test_one_that_rests_is_woken_in_its_turn() -> None:
    loop = Loop()
    (first, _), (second, _) = loop.join(), loop.join()
    loop.world.release()
    assert acquires(first)
    loop.world.release()
    assert not loop.world.take()
    assert acquires(second)


def test_a_rest_ends_at_the_deadline_and_then_there_is_one_last_try() -> None:
    loop = Loop()
    loop.join()
    policy, nap = loop.join(timeout=0.75)
    assert nap == 0.75
    loop.world.clock.now += 0.75
    with pytest.raises(AcquireTimeout, match="after 2 attempts and 0.750 seconds"):
        next(policy)


def test_a_timeout_of_zero_does_not_rest() -> None:
    loop = Loop()
    loop.join()
    with pytest.raises(AcquireTimeout, match="after 1 attempt "):
        loop.join(timeout=0.0)


def test_whoever_ends_a_rest_leaves_the_tries_to_it() -> None:
    loop = Loop()
    loop.join()
    policy, nap = loop.join()
    assert nap == NEVER
    assert [next(policy) for _ in range(3)] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        pytest.param({}, {"max_attempts": 5}, id="its-tries-are-counted"),
        pytest.param({}, {"observe": ignore}, id="somebody-watches"),
        pytest.param({"gives_up": True}, {}, id="its-schedule-may-end"),
        pytest.param({"wake_on_release": False}, {}, id="nobody-wakes-it"),
        pytest.param({"fair_after": None}, {}, id="nothing-is-reserved"),
    ],
)
def test_who_does_not_rest(options: dict[str, Any], limits: dict[str, Any]) -> None:
    loop = Loop(**options)
    assert all(loop.join(**limits)[1] < NEVER for _ in range(3))


def test_who_joins_after_all_have_given_up_tries_for_itself() -> None:
    loop = Loop()
    policy, _ = loop.join()
    policy.close()
    assert loop.join()[1] == 1.0


def test_nobody_rests_while_a_test_skips_the_naps() -> None:
    with no_backoff():
        world = taken()
        policies = [world.contend(world.waiter()) for _ in range(3)]
        assert [next(policy) for policy in policies] == [0.0, 0.0, 0.0]


def test_a_late_loop_is_late_for_all_that_rest_on_it() -> None:
    loop = Loop()
    for _ in range(3):
        loop.join()
    thread = loop.world.contend(loop.world.waiter())
    next(thread)
    loop.pledge.promise = loop.world.clock.now
    loop.world.clock.now += GRACE * 1.01
    loop.world.release()
    assert acquires(thread)


# -- on a real loop --------------------------------------------------------------------------------


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def enter(lock: BackoffLock | ThreadBackoffLock) -> None:
    async with lock:
        pass


async def queue_up(lock: BackoffLock | ThreadBackoffLock, count: int) -> list[asyncio.Task[None]]:
    """Let so many tasks wait for a lock that is held."""
    tasks = [asyncio.create_task(enter(lock)) for _ in range(count)]
    await until(lambda: lock.statistics().tasks_waiting == count)
    return tasks


def test_only_the_first_of_a_loop_tries_while_a_lock_stays_held() -> None:
    async def main() -> int:
        lock = BackoffLock(Constant(0.001))
        async with lock:
            tasks = await queue_up(lock, 50)
            first = lock._contention.queue[0]
            await until(lambda: first.attempt > 20)
            assert {waiter.attempt for waiter in list(lock._contention.queue)[1:]} == {1}
        await asyncio.gather(*tasks)
        return lock.statistics().wakeups

    assert asyncio.run(main()) == 50


@pytest.mark.parametrize("leave", ["cancel", "timeout"])
def test_when_the_first_gives_up_the_next_tries_in_its_place(leave: str) -> None:
    async def main() -> None:
        lock = BackoffLock(Constant(0.001))
        async with lock:
            if leave == "timeout":
                first = asyncio.create_task(lock.acquire(timeout=0.02))
                await until(lambda: lock.statistics().tasks_waiting == 1)
                tasks = [asyncio.create_task(enter(lock)) for _ in range(3)]
                await asyncio.wait([first])
                assert isinstance(first.exception(), AcquireTimeout)
            else:
                first_task, *tasks = await queue_up(lock, 4)
                first_task.cancel()
                await asyncio.wait([first_task])
            waiter = lock._contention.queue[0]
            await until(lambda: waiter.attempt > 20)
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_a_dead_owner_is_told_to_all_that_rest_at_once() -> None:
    # Each passes the word on: were it left to the alarm, a thousand would take a minute.
    async def main() -> float:
        lock = BackoffLock(Constant(0.01))
        await asyncio.create_task(lock.acquire())
        began = time.monotonic()
        tasks = [asyncio.create_task(enter(lock)) for _ in range(1000)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {OwnerDied}
        assert lock.statistics().tasks_waiting == 0
        return time.monotonic() - began

    assert asyncio.run(main()) < 10.0


def test_a_lost_wake_up_of_one_that_rests_is_made_up_for_by_the_alarm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> float:
        lock = BackoffLock(Constant(30.0))
        await lock.acquire()
        first, *rest = await queue_up(lock, 3)
        with monkeypatch.context() as patch:
            patch.setattr(AsyncioWaiter, "wake", lambda self: True)
            first.cancel()  # nobody is told to try in its place
            await asyncio.wait([first])
            lock.release()  # and nobody is woken
        began = time.monotonic()
        async with asyncio.timeout(10):
            await asyncio.gather(*rest)
        return time.monotonic() - began

    assert asyncio.run(main()) < 2 * REST + 0.5


def test_the_alarm_leaves_a_queue_alone_that_moves() -> None:
    async def main() -> None:
        lock = BackoffLock(Spin())

        async def hold() -> None:
            async with lock:
                await asyncio.sleep(0.01)

        async with lock:
            tasks = [asyncio.create_task(hold()) for _ in range(40)]
            await until(lambda: lock.statistics().tasks_waiting == 40)
            first = lock._contention.queue[0]
            await until(lambda: first.attempt > 3)
        await asyncio.gather(*tasks)
        # The first spun; all others were woken for their second try and made no other.
        assert lock.statistics().attempts - first.attempt == 2 * 39

    asyncio.run(main())


def test_a_loop_with_a_single_waiter_is_not_watched_beside_its_naps() -> None:
    # A service may wait for a thousand locks at once: each costs a nap in 30 s here, and no more.
    async def main() -> None:
        lock = BackoffLock(Constant(30.0))
        async with lock:
            (task,) = await queue_up(lock, 1)
            (alarm,) = lock._alarms.values()
            assert alarm._timer is not None
            assert alarm._timer.when() > time.monotonic() + 20.0
            behind = asyncio.create_task(enter(lock))
            await until(lambda: lock.statistics().tasks_waiting == 2)
            assert alarm._timer.when() <= time.monotonic() + REST
        await asyncio.gather(task, behind)

    asyncio.run(main())


def test_a_waiter_that_steps_does_not_rest_and_answers_for_itself() -> None:
    async def main() -> None:
        lock = BackoffLock(Constant(0.01))
        async with lock:
            tasks = await queue_up(lock, 2)

            async def step() -> None:
                async for attempt in lock.attempts():
                    if attempt:
                        async with attempt:
                            return
                    assert attempt.delay < 1.0

            stepping = asyncio.create_task(step())
            await until(lambda: lock.statistics().tasks_waiting == 3)
            queue = lock._contention.queue
            assert queue[0].pledge is queue[1].pledge is not queue[2].pledge
        await asyncio.gather(stepping, *tasks)

    asyncio.run(main())
