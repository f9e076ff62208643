"""What the mutants found untested, or found only by a test that hangs for seconds.

Most are orders and moments that go wrong without any crash; `tests.mutants` names the faults.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from itertools import count
from types import FrameType
from typing import Any

import anyio
import pytest
import trio

from backofflock import AcquireTimeout, BackoffLock, Constant, ThreadBackoffLock
from backofflock._contention import GRACE, Contention
from backofflock._hosts import ThreadWaiter, has_ended, running_task
from backofflock._hosts._asyncio import AsyncioWaiter
from backofflock._key import KEY
from backofflock._waiter import NEVER, REST, Pledge

from .test_hosts import until, waiting
from .virtual import World, acquires, taken

Lock = BackoffLock | ThreadBackoffLock
FACES = pytest.mark.parametrize("face", [BackoffLock, ThreadBackoffLock])
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])

# -- a release: the owner, then the key, then the wake-up ------------------------------------------


class NotingKey(deque[None]):
    """A key that notes when it comes back, and whether the lock has an owner still."""

    def __init__(self, lock: Lock, notes: list[str]) -> None:
        super().__init__((KEY,), maxlen=1)
        self._lock, self._notes = lock, notes
        lock._key = lock._contention.key = self

    def append(self, element: None) -> None:
        self._notes.append("freed" if self._lock._owner is None else "freed, with an owner")
        super().append(element)


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is to be noted, each wake-up included."""
    noted: list[str] = []
    for kind in (AsyncioWaiter, ThreadWaiter):

        def wake(waiter: Any, really_wake: Callable[[Any], bool] = kind.wake) -> bool:
            noted.append("woken")
            return really_wake(waiter)

        monkeypatch.setattr(kind, "wake", wake)
    return noted


@asynccontextmanager
async def by_async_with(lock: Lock) -> AsyncIterator[None]:
    async with lock:
        yield


@asynccontextmanager
async def by_hand(lock: Lock) -> AsyncIterator[None]:
    lock.acquire_nowait()
    yield
    lock.release()


@asynccontextmanager
async def by_attempts(lock: Lock) -> AsyncIterator[None]:
    async for attempt in lock.attempts():
        async with attempt:
            yield


@FACES
@pytest.mark.parametrize("hold", [by_async_with, by_hand, by_attempts])
def test_a_release_in_a_task_clears_the_owner_then_frees_then_wakes(
    face: type[Lock], hold: Callable[[Lock], Any], notes: list[str]
) -> None:
    async def main() -> None:
        lock = face()
        NotingKey(lock, notes)

        async def wait() -> None:
            async with lock:
                assert notes == ["freed", "woken"]

        async with hold(lock):
            waiter = asyncio.create_task(wait())
            await until(lambda: waiting(lock) == 1)
        async with asyncio.timeout(10):
            await waiter

    asyncio.run(main())


@pytest.mark.parametrize("by_with", [True, False])
def test_a_release_in_a_thread_frees_and_then_wakes(by_with: bool, notes: list[str]) -> None:
    lock = ThreadBackoffLock()
    NotingKey(lock, notes)
    steps = lock.attempts()  # a waiter that is not in the way
    if by_with:
        with lock:
            assert not next(steps)
    else:
        lock.acquire()
        assert not next(steps)
        lock.release()
    assert notes == ["freed", "woken"]


# -- interrupts and cancels ------------------------------------------------------------------------


class Interrupted(BaseException):
    """What a signal handler raises, as Ctrl-C raises KeyboardInterrupt."""


def run_interrupted(step: Callable[[], object], lines: int) -> bool:
    """Run `step`, and interrupt the policy of waiting at its n-th line; return whether it was."""
    codes = (Contention.contend.__code__, Contention._drop.__code__)
    left = lines

    def tracer(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal left
        if frame.f_code not in codes:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Interrupted
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        step()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_at_any_line_of_a_wait_leaves_one_key_and_an_empty_queue() -> None:
    for line in count(1):
        world = World()
        assert world.take()
        waiter = world.waiter()
        policy = world.contend(waiter)
        released = False

        def wait(world: World = world, policy: Generator[float, None, None] = policy) -> None:
            nonlocal released
            next(policy)
            world.release()
            released = True
            assert acquires(policy)

        if not run_interrupted(wait, line):
            break
        world.machine.abandon(policy, waiter)  # as the faces do
        assert not world.machine.queue
        assert len(world.machine.key) == released
    assert line > 30
    assert not world.machine.key


def test_a_cancelled_task_has_left_the_queue_before_its_error_is_seen() -> None:
    async def main() -> None:
        lock = BackoffLock()
        left: list[int] = []

        async def wait() -> None:
            try:
                await lock.acquire()
            finally:
                left.append(waiting(lock))

        async with lock:
            task = asyncio.create_task(wait())
            await until(lambda: waiting(lock) == 1)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert left == [0]

    asyncio.run(main())


def test_a_nap_of_trio_that_was_cancelled_can_be_woken_to_no_effect() -> None:
    async def main() -> None:
        waiter = BackoffLock()._waiter(running_task())
        waiter.woken_at = NEVER
        waiter.resting = False
        with trio.CancelScope() as scope:
            scope.cancel()
            await waiter.nap(30.0)
        assert scope.cancelled_caught
        assert waiter.wake()
        await trio.lowlevel.checkpoint()

    trio.run(main)


# -- who tries, and in whose place -----------------------------------------------------------------


def test_one_that_gives_up_has_another_try_in_its_place() -> None:
    for free in (False, True):
        world, pledge = World(), Pledge()
        assert world.take()
        waiters = [world.waiter(pledge=pledge) for _ in range(3)]
        policies = [world.contend(waiter) for waiter in waiters]
        assert [next(policy) for policy in policies] == [1.0, NEVER, NEVER]
        policies[1].close()  # it made no tries, so there are none to pass on
        assert [waiter.wakeups for waiter in waiters] == [0, 0, 0]
        if free:
            world.release()
        policies[0].close()
        # With the key free, the next is woken and needs no more.
        assert waiters[2].wakeups == 1
        assert world.machine.wakeups == (2 if free else 0)


def test_one_whose_loop_is_closed_tries_in_nobodys_place() -> None:
    world = taken()
    waiters = [world.waiter() for _ in range(3)]
    policies = [world.napping(waiter) for waiter in waiters]
    waiters[1].dead = True
    policies[0].close()
    assert waiters[2].wakeups == 1
    assert list(world.machine.queue) == [waiters[2]]


def test_one_that_finds_the_key_reserved_for_a_late_waiter_wakes_the_next() -> None:
    world = World()
    assert world.take()
    late, second = world.waiter(), world.waiter()
    policies = [world.contend(late), world.contend(second)]
    assert [next(policy) for policy in policies] == pytest.approx([1.0, 2 * REST])
    world.release()
    world.clock.now += GRACE * 1.01
    assert not world.take()
    assert (late.wakeups, second.wakeups) == (1, 1)


def test_when_the_first_task_gives_up_the_next_tries_on_and_needs_no_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backofflock._hosts._asyncio.REST", 60.0)

    async def main() -> None:
        lock = BackoffLock(Constant(0.001))
        async with lock, asyncio.timeout(3):
            first, second = (asyncio.create_task(lock.acquire()) for _ in range(2))
            await until(lambda: waiting(lock) == 2)
            first.cancel()
            await asyncio.wait([first])
            (waiter,) = lock._contention.queue
            await until(lambda: waiter.attempt > 3)
            second.cancel()
            await asyncio.wait([second])

    asyncio.run(main())


@FACES
def test_a_task_that_enters_anew_queues_behind_those_who_wait(face: type[Lock]) -> None:
    async def main() -> None:
        lock = face()
        lock._contention.grace = 60.0  # no stall of the machine makes the waiter late
        entered: list[str] = []

        async def enter(name: str) -> None:
            async with lock:
                entered.append(name)

        async with lock:
            task = asyncio.create_task(enter("waiter"))
            await until(lambda: waiting(lock) == 1)
        async with asyncio.timeout(10):
            await enter("newcomer")
            await task
        assert entered == ["waiter", "newcomer"]

    asyncio.run(main())


def test_a_thread_that_enters_anew_queues_behind_those_who_wait() -> None:
    lock = ThreadBackoffLock(fair_after=0.0, timeout=0.0)
    lock._contention.grace = 60.0
    with lock:
        steps = lock.attempts(timeout=None)
        assert not next(steps)
    with pytest.raises(AcquireTimeout), lock:
        pytest.fail("it was another's turn")
    with next(steps):
        assert lock.locked()


# -- naps and wake-ups -----------------------------------------------------------------------------


@BACKENDS
def test_a_nap_of_nothing_lets_the_others_run(backend: str) -> None:
    async def main() -> None:
        waiter = BackoffLock()._waiter(running_task())
        waiter.woken_at = NEVER
        waiter.resting = False
        ran: list[str] = []

        async def run() -> None:
            ran.append("another")

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            assert ran == []
            for _ in range(2):  # trio runs the tasks of one turn in any order
                await waiter.nap(0.0)
            assert ran == ["another"]

    anyio.run(main, backend=backend)


@BACKENDS
def test_a_wake_up_between_the_try_and_the_nap_is_not_slept_over(backend: str) -> None:
    async def main() -> None:
        waiter = BackoffLock()._waiter(running_task())
        waiter.woken_at = waiter.clock()  # its waker notes it, and then wakes
        assert waiter.wake()
        with anyio.fail_after(2):
            await waiter.nap(60.0)

    anyio.run(main, backend=backend)


def test_a_threads_first_nap_is_slept() -> None:
    waiter = ThreadWaiter(0.0)
    began = time.monotonic()
    waiter.nap(0.020)
    assert time.monotonic() - began >= 0.019


def test_naps_that_were_cut_short_make_room_for_others() -> None:
    async def main() -> None:
        waiter = BackoffLock()._waiter(running_task())
        assert isinstance(waiter, AsyncioWaiter)
        waiter.woken_at = NEVER
        waiter.resting = False
        for _ in range(1_000):
            nap = waiter.nap(60.0)
            assert waiter.wake()
            await nap
        assert len(waiter.alarm._heap) <= 64

    asyncio.run(main())


# -- the owner -------------------------------------------------------------------------------------


@BACKENDS
def test_a_task_that_had_to_wait_owns_the_lock(backend: str) -> None:
    async def main() -> None:
        lock = BackoffLock()
        held: list[bool] = []

        async def wait() -> None:
            await lock.acquire()
            held.append(lock.statistics().owner == anyio.get_current_task())
            lock.release()

        async with anyio.create_task_group() as group, lock:
            group.start_soon(wait)
            while not waiting(lock):
                await anyio.lowlevel.checkpoint()
        assert held == [True]

    anyio.run(main, backend=backend)


def test_an_owner_that_waits_for_itself_is_told_at_its_first_try() -> None:
    async def main() -> None:
        lock = BackoffLock(timeout=0.0)
        async with lock:
            with pytest.raises(RuntimeError, match="not reentrant"):
                await lock.acquire()

    asyncio.run(main())


def test_an_owner_that_released_and_ended_meanwhile_did_not_die_holding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        lock = BackoffLock(Constant(0.001))

        def released_since(owner: Any) -> bool:
            # The other loop's thread runs on between the two looks.
            lock._give_back()
            return has_ended(owner)

        await asyncio.create_task(lock.acquire())
        monkeypatch.setattr("backofflock.tasks.has_ended", released_since)
        assert await lock.acquire(timeout=10.0)
        lock.release()

    asyncio.run(main())


def test_a_task_of_a_closed_loop_has_ended() -> None:
    async def wait_for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    loop = asyncio.new_event_loop()
    task = loop.create_task(wait_for_ever())
    loop.run_until_complete(asyncio.sleep(0))
    assert not has_ended(task)
    loop.close()
    assert not task.done()
    assert has_ended(task)
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant to be so


def test_an_attempt_that_is_not_entered_gives_the_lock_back_at_once() -> None:
    lock = ThreadBackoffLock()
    steps = lock.attempts()
    assert next(steps)
    assert lock.locked()
    steps.close()
    assert not lock.locked()


# -- what `threading` and a fork ask of a lock -----------------------------------------------------


def test_a_condition_takes_the_lock_back_without_its_limits() -> None:
    lock = ThreadBackoffLock(timeout=0.0, max_attempts=1, on_wait=lambda _: lock.release())
    lock.acquire()
    lock._acquire_restore(None)  # taken, so it has to wait, and then the hook releases
    assert lock.locked()


def test_a_lock_made_anew_after_a_fork_has_no_waiters() -> None:
    lock = ThreadBackoffLock()
    with lock:
        steps = lock.attempts()
        assert not next(steps)
        lock._at_fork_reinit()
        assert waiting(lock) == 0
        assert lock.acquire(False)
