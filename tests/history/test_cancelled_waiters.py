"""A waiter that is cancelled takes a wake-up, the key or the lock itself along."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from backofflock import ThreadBackoffLock

from ..contract import broken_locks
from ..contract.checks import ASLEEP, Ledger, assert_at_rest, queued, visitor
from ..contract.hosts import (
    LOOPS,
    ON_ANYIO_TRIO,
    ON_THREADS,
    ON_TRIO,
    TASK_HOSTS,
    Host,
    elsewhere,
    pairs,
)
from ..contract.subjects import (
    FACES,
    OVER_FACE,
    OVER_LOCK,
    STRICT,
    TASKS,
    THREADS,
    VARIANTS,
    Make,
    waits_for_the_late,
)
from ..contract.test_cancellation import (
    check_all_cancelled_in_the_turn_of_the_release,
    check_cancel_storm,
    check_cancelled_at_the_checkpoint,
    check_cancelled_in_the_turn_of_the_release,
)
from ..contract.worlds import World
from .naive import (
    IMPATIENT,
    PATIENT,
    HandsOver,
    Peer,
    StrandsNewcomers,
    StrandsTheNext,
    TakesThenYields,
    WakesTwo,
    WedgedSemaphore,
    of,
)

FIRST_COME = [TASKS, OVER_LOCK, OVER_FACE, STRICT]
"""Those of which a check may ask who is next."""


# -- a cancelled waiter strands the next -----------------------------------------------------------


@pairs(FIRST_COME, TASK_HOSTS)
def test_cancelled_waiter_strands_the_next(make: Make, host: Host) -> None:
    """bpo-27585 (https://github.com/python/cpython/pull/1031): the waiter of an `asyncio.Lock` that
    a release had woken was cancelled before it ran; it passed nothing on, so the lock lay free and
    all others waited for ever. anyio #387 (https://github.com/agronholm/anyio/issues/387): there
    the release had made it the owner already, and the lock stayed with a task that had ended.
    """
    check_cancelled_in_the_turn_of_the_release(waits_for_the_late(make), host, cancel_first=False)


@pytest.mark.parametrize("peer", [StrandsTheNext, HandsOver])
def test_cancelled_waiter_strands_the_next_bites(peer: type[Peer]) -> None:
    with pytest.raises(AssertionError, match="in vain"):
        check_cancelled_in_the_turn_of_the_release(of(peer), IMPATIENT, cancel_first=False)


def check_newcomer_before_the_cancelled_has_left(make: Make, host: Host) -> None:
    """It comes in the turn of the cancel and the release, while the cancelled one stands in queue.

    Every nap is longer than the test: it is woken when that one leaves, or never.
    """

    async def main(world: World) -> None:
        subject = make(schedule=ASLEEP)
        ledger = Ledger()
        assert await world.acquire(subject)
        waiter = world.spawn(visitor(subject, ledger))
        await queued(world, subject, 1)
        waiter.cancel()
        world.release(subject)
        assert await world.acquire(subject, timeout=world.patience), "the newcomer is stranded"
        await world.join([waiter])
        assert waiter.cancelled
        assert ledger.visits == []
        world.release(subject)
        await assert_at_rest(world, subject)

    host.run(main)


@pairs([*FACES, OVER_LOCK], LOOPS)
def test_cancelled_waiter_strands_a_newcomer(make: Make, host: Host) -> None:
    """anyio #1145 (https://github.com/agronholm/anyio/pull/1145): a release that found none but
    cancelled waiters left the lock free and them in the queue; a task that came before they had
    gone queued behind them for a hand-over that nobody was left to make.
    """
    check_newcomer_before_the_cancelled_has_left(make, host)


def test_cancelled_waiter_strands_a_newcomer_bites() -> None:
    with pytest.raises(TimeoutError):
        check_newcomer_before_the_cancelled_has_left(of(StrandsNewcomers), IMPATIENT)


# -- cancel and release in the same turn -----------------------------------------------------------


@pairs(FIRST_COME, TASK_HOSTS)
def test_cancel_and_release_in_the_same_turn_let_two_in(make: Make, host: Host) -> None:
    """bpo-32734 (https://github.com/python/cpython/issues/76915): a waiter of an `asyncio.Lock`
    was cancelled and then the lock released in the same turn of the loop. The release woke the
    next waiter and the cancelled one, on its way out, woke one more: both acquired.
    """
    check_cancelled_in_the_turn_of_the_release(waits_for_the_late(make), host, cancel_first=True)


def test_cancel_and_release_in_the_same_turn_let_two_in_bites() -> None:
    with pytest.raises(AssertionError, match="inside at once"):
        check_cancelled_in_the_turn_of_the_release(of(WakesTwo), PATIENT, cancel_first=True)


@pairs(FACES, LOOPS)
def test_cancel_and_release_in_the_same_turn_at_random(make: Make, host: Host) -> None:
    """The same bugs, bpo-27585 and bpo-32734, among hundreds of waiters."""
    check_cancel_storm(make, host, tasks=200)


# -- wedged after a cancel -------------------------------------------------------------------------


@pairs([variant for variant in VARIANTS if variant.wakes], TASK_HOSTS)
def test_wedged_after_cancel(make: Make, host: Host) -> None:
    """gh-90155 (https://github.com/python/cpython/issues/90155): an `asyncio.Semaphore` noted that
    a woken task was on its way; when that task was cancelled and nobody else waited, the note
    stayed, and no task could ever acquire again.
    """
    check_all_cancelled_in_the_turn_of_the_release(make, host)


def test_wedged_after_cancel_bites() -> None:
    with pytest.raises(AssertionError, match="the key is gone"):
        check_all_cancelled_in_the_turn_of_the_release(of(WedgedSemaphore), PATIENT)


# -- cancelled at the checkpoint after acquiring ---------------------------------------------------


def check_cancelled_some_turns_after_it_began(make: Make, host: Host) -> None:
    """Whatever an acquire does first, second and third: a cancel at any of it leaves nothing."""

    async def main(world: World) -> None:
        subject = make()
        ledger = Ledger()
        for free in (True, False):
            for turns in range(6):
                assert free or world.try_once(subject)
                handle = world.spawn(visitor(subject, ledger))
                for _ in range(turns):
                    await world.sleep(0)
                if not handle.done:
                    handle.cancel()
                await world.join([handle])
                if not free:
                    assert handle.cancelled
                    world.release(subject)
                await assert_at_rest(world, subject)

    host.run(main)


@pairs(VARIANTS, LOOPS)
def test_cancelled_at_the_checkpoint_after_acquiring(make: Make, host: Host) -> None:
    """anyio #398 (https://github.com/agronholm/anyio/issues/398): ``acquire`` of a free lock took
    it and then passed a checkpoint; cancelled there, ``async with`` never came to its exit and the
    lock stayed held. aiologic's changelog has the same for its locks on trio, mended in 0.15.0
    (https://github.com/x42005e1f/aiologic/blob/main/CHANGELOG.md).
    """
    check_cancelled_some_turns_after_it_began(make, host)
    if host in (ON_TRIO, ON_ANYIO_TRIO):
        check_cancelled_at_the_checkpoint(make, host)


def test_cancelled_at_the_checkpoint_after_acquiring_bites() -> None:
    with pytest.raises(AssertionError, match="the key is gone"):
        check_cancelled_some_turns_after_it_began(of(TakesThenYields), PATIENT)


def test_cancelled_at_the_checkpoint_after_acquiring_bites_on_trio() -> None:
    faulty = broken_locks.of_face(broken_locks.TakesBeforeCheckpoint)
    with pytest.raises(AssertionError, match="the key is gone"):
        check_cancelled_at_the_checkpoint(faulty, ON_TRIO)


# -- a cancelled acquire in an executor ------------------------------------------------------------


def check_cancelled_while_a_thread_holds(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        subject = make()
        ledger = Ledger()
        holding, let_go = threading.Event(), threading.Event()

        async def hold(world: World) -> None:
            async with world.hold(subject):
                holding.set()
                let_go.wait(world.patience)

        with elsewhere(ON_THREADS) as threads:
            holder = threads.spawn(hold)
            await world.until(holding.is_set, "the thread's hold")
            waiters = [world.spawn(visitor(subject, ledger)) for _ in range(3)]
            await queued(world, subject, 3)
            for waiter in waiters:
                waiter.cancel()
            await world.join(waiters)
            assert all(waiter.cancelled for waiter in waiters)
            let_go.set()
            await world.join([holder])
        await assert_at_rest(world, subject)
        assert ledger.visits == []

    host.run(main)


@pairs([THREADS, STRICT, OVER_LOCK, OVER_FACE], LOOPS)
def test_cancelled_executor_acquire_leaks_the_lock(make: Make, host: Host) -> None:
    """web3.py #2693 (https://github.com/ethereum/web3.py/issues/2693), filelock #640
    (https://github.com/tox-dev/filelock/issues/640): a task waited for a lock of threads by way of
    an executor and was cancelled; the thread went on waiting, got the lock, and nobody was left to
    release it. Our tasks wait for what a thread holds without a thread of their own.
    """
    check_cancelled_while_a_thread_holds(make, host)


@pytest.mark.parametrize("make_lock", [threading.Lock, ThreadBackoffLock])
def test_cancelled_executor_acquire_leaks_the_lock_bites(
    make_lock: Callable[[], threading.Lock | ThreadBackoffLock],
) -> None:
    """It is the executor's doing: our lock leaks too if it is used like this."""

    async def main() -> None:
        lock = make_lock()
        waiting, acquired = threading.Event(), threading.Event()

        def acquire_in_thread() -> None:
            waiting.set()
            lock.acquire()
            acquired.set()

        lock.acquire()
        task = asyncio.create_task(asyncio.to_thread(acquire_in_thread))
        while not waiting.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        lock.release()
        while not acquired.is_set():
            await asyncio.sleep(0.001)
        assert lock.locked(), "the task has ended, and yet the lock is held"

    asyncio.run(asyncio.wait_for(main(), 10))
