"""Condition variables on top of the lock, with a waiter that is cancelled.

Which take our locks: `threading.Condition` takes a `ThreadBackoffLock`, `asyncio.Condition` and
`anyio.Condition` take a `BackoffLock`. `trio.Condition` takes none but trio's own.
"""

from __future__ import annotations

import asyncio
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias

import anyio
import pytest
import trio

from backofflock import BackoffLock, ThreadBackoffLock

from ..contract.checks import ASLEEP, Ledger, assert_at_rest, queued, visitor
from ..contract.hosts import (
    ON_ANYIO_ASYNCIO,
    ON_ANYIO_TRIO,
    ON_ASYNCIO,
    ON_EAGER,
    ON_UVLOOP,
    Host,
    pairs,
)
from ..contract.subjects import OVER_FACE, OVER_LOCK, TASKS, VARIANTS, Make, Variant
from ..contract.test_drop_in import check_anyio_condition, check_asyncio_condition
from ..contract.worlds import World
from .naive import IMPATIENT, StrandsTheNext, of

Condition: TypeAlias = "asyncio.Condition | anyio.Condition"
OWNED = [TASKS, OVER_LOCK, OVER_FACE]
THREADED = [variant for variant in VARIANTS if variant.for_threads]
ON_NATIVE_ASYNCIO = (ON_ASYNCIO, ON_EAGER, ON_UVLOOP)

new_asyncio_condition: Callable[[Any], Condition] = asyncio.Condition
new_anyio_condition: Callable[[Any], Condition] = anyio.Condition


def check_cancelled_while_it_takes_the_lock_back(
    make: Make, host: Host, new_condition: Callable[[Any], Condition]
) -> None:
    """It was notified, so it queues for the lock, others behind it; then it is cancelled.

    That in the turn of the release which wakes it. It must have the lock once more before it goes,
    and the others must come in. Every nap is longer than the test: only wake-ups bring them in.
    """

    async def main(world: World) -> None:
        subject = make(schedule=ASLEEP)
        condition = new_condition(subject.lock)
        ledger = Ledger()
        waits, held_at_the_end = 0, []

        async def wait(world: World) -> None:
            nonlocal waits
            async with condition:
                waits += 1
                try:
                    await condition.wait()
                finally:
                    held_at_the_end.append(subject.lock.locked())
                    with ledger.visit("the cancelled"):
                        pass

        for turn in range(3):
            first = world.spawn(wait)

            def it_waits(turn: int = turn) -> bool:
                return waits > turn and not condition.locked()

            await world.until(it_waits, "the wait")
            await condition.acquire()
            condition.notify()
            await queued(world, subject, 1)
            others = [world.spawn(visitor(subject, ledger)) for _ in range(2)]
            await queued(world, subject, 3)
            condition.release()
            first.cancel()
            await world.join([first, *others])
            assert held_at_the_end.pop()
            assert sorted(ledger.visits) == ["the cancelled", "visitor", "visitor"]
            ledger.visits.clear()
            await assert_at_rest(world, subject)

    host.run(main)


def check_cancelled_and_notified_in_one_turn(
    make: Make, host: Host, new_condition: Callable[[Any], Condition], passes_on: bool
) -> None:
    """The notified one is cancelled before it runs; another waits for a notification too.

    `passes_on` says whether the condition itself gives the notification to that one then.
    """

    async def main(world: World) -> None:
        subject = make(schedule=ASLEEP)
        condition = new_condition(subject.lock)
        waits = 0
        woken: list[str] = []

        def waiting(name: str) -> Callable[[World], Any]:
            async def wait(world: World) -> None:
                nonlocal waits
                async with condition:
                    waits += 1
                    await condition.wait()
                    woken.append(name)

            return wait

        first = world.spawn(waiting("first"))
        await world.until(lambda: waits == 1 and not condition.locked(), "the first's wait")
        second = world.spawn(waiting("second"))
        await world.until(lambda: waits == 2 and not condition.locked(), "the second's wait")
        async with condition:
            condition.notify()
            first.cancel()
        await world.join([first])
        assert first.cancelled or woken == ["first"]  # in anyio the notification may come first
        if not passes_on:
            async with condition:
                condition.notify()
        await world.join([second])
        assert woken[-1] == "second"
        await assert_at_rest(world, subject)

    host.run(main)


# -- asyncio.Condition -----------------------------------------------------------------------------


@pairs(OWNED, ON_NATIVE_ASYNCIO)
def test_asyncio_condition_with_a_cancelled_waiter(make: Make, host: Host) -> None:
    """gh-112202 (https://github.com/python/cpython/issues/112202): a task in the ``wait`` of an
    `asyncio.Condition` was notified and cancelled in the same turn; the notification was lost with
    it and the next task waited for ever. The lock's part: the cancelled one has it back before it
    goes, and all who queue for it come in.
    """
    check_cancelled_while_it_takes_the_lock_back(make, host, new_asyncio_condition)
    check_cancelled_and_notified_in_one_turn(make, host, new_asyncio_condition, passes_on=False)
    check_asyncio_condition(make, host)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="gh-112202 was mended in Python 3.13")
@pairs(OWNED, ON_NATIVE_ASYNCIO)
def test_asyncio_condition_passes_the_notification_on(make: Make, host: Host) -> None:
    """gh-112202: on our lock as on its own, the mended condition notifies the next one instead."""
    check_cancelled_and_notified_in_one_turn(make, host, new_asyncio_condition, passes_on=True)


def test_asyncio_condition_with_a_cancelled_waiter_bites() -> None:
    """On a lock that has bpo-27585 the others never come in."""
    with pytest.raises(AssertionError, match="in vain"):
        check_cancelled_while_it_takes_the_lock_back(
            of(StrandsTheNext), IMPATIENT, new_asyncio_condition
        )


@pairs(OWNED, [ON_ANYIO_ASYNCIO])
def test_asyncio_condition_in_an_anyio_scope(make: Make, host: Host) -> None:
    """anyio #884 (https://github.com/agronholm/anyio/issues/884): ``wait`` of an
    `asyncio.Condition` takes the lock back however often it is cancelled, and a cancel scope of
    anyio cancels in every turn of the loop, so the two spin until the lock is free. Every turn is a
    cancelled acquire for the lock: it must lose nothing by them, and let the task in in the end.
    """

    async def main(world: World) -> None:
        subject = make()
        condition = asyncio.Condition(subject.lock)  # type: ignore[arg-type]
        ledger = Ledger()
        waits = 0

        async def wait(world: World) -> None:
            nonlocal waits
            async with condition:
                waits += 1
                await condition.wait()

        handle = world.spawn(wait)
        await world.until(lambda: waits and not condition.locked(), "the wait")
        async with condition:
            handle.cancel()
            await world.until(lambda: subject.lock.statistics().cancellations >= 20, "the spin")
            other = world.spawn(visitor(subject, ledger))
            for _ in range(20):
                await world.sleep(0)
                assert subject.waiting() <= 2
            assert not handle.done
        await world.join([handle, other])
        assert handle.cancelled
        assert ledger.visits == ["visitor"]
        await assert_at_rest(world, subject)

    host.run(main)


# -- anyio.Condition -------------------------------------------------------------------------------


@pairs(OWNED, [ON_ANYIO_ASYNCIO, ON_ANYIO_TRIO])
def test_anyio_condition_with_a_cancelled_waiter(make: Make, host: Host) -> None:
    """gh-112202 and anyio #1075 (https://github.com/agronholm/anyio/pull/1075), the same bug in
    `anyio.Condition`. It shields the acquire that takes the lock back, so a cancel does not reach
    the lock there, and nothing spins as in anyio #884.
    """
    check_cancelled_while_it_takes_the_lock_back(make, host, new_anyio_condition)
    check_cancelled_and_notified_in_one_turn(make, host, new_anyio_condition, passes_on=False)
    check_anyio_condition(make, host)


@pairs(OWNED, [ON_ANYIO_ASYNCIO, ON_ANYIO_TRIO])
def test_anyio_condition_does_not_spin(make: Make, host: Host) -> None:
    """anyio #884: while it takes back a lock that is held, the cancelled waiter lies still."""

    async def main(world: World) -> None:
        subject = make(schedule=ASLEEP)
        condition = anyio.Condition(subject.lock)  # type: ignore[arg-type]
        waits = 0

        async def wait(world: World) -> None:
            nonlocal waits
            async with condition:
                waits += 1
                await condition.wait()

        handle = world.spawn(wait)
        await world.until(lambda: waits and not condition.locked(), "the wait")
        async with condition:
            handle.cancel()
            await queued(world, subject, 1)
            for _ in range(50):
                await world.sleep(0)
            assert [waiter.attempt for waiter in subject.lock._contention.queue] == [1]
        await world.join([handle])
        counted = subject.lock.statistics()
        assert (counted.cancellations, counted.attempts) == (0, 2)
        await assert_at_rest(world, subject)

    host.run(main)


# -- threading.Condition ---------------------------------------------------------------------------

PATIENCE = 20.0


@pytest.mark.parametrize("make", THREADED, ids=lambda variant: variant.name)
def test_threading_condition_with_waiters_that_give_up(make: Variant) -> None:
    """gh-112202, for threads: they cannot be cancelled, but their waits time out at any moment, in
    that of the notification too. All that is made is taken, and the lock is at rest at the end.
    """
    lock: Any = make().lock
    condition = threading.Condition(lock)
    items: list[int] = []
    taken: queue.Queue[int] = queue.Queue()
    made = threading.Event()

    def consume(timeout: float) -> None:
        while True:
            with condition:
                if condition.wait_for(lambda: items, timeout):
                    assert lock.locked()
                    taken.put(items.pop())
                elif made.is_set():
                    return

    consumers = [
        threading.Thread(target=consume, args=(timeout,))
        for timeout in (0.0002, 0.0005, 0.001, 0.003, 0.010)
    ]
    for consumer in consumers:
        consumer.start()
    for item in range(100):
        with condition:
            items.append(item)
            condition.notify()
        time.sleep(0.0002 * (item % 3))
    made.set()
    for consumer in consumers:
        consumer.join(PATIENCE)
        assert not consumer.is_alive()
    assert sorted(taken.queue) == list(range(100))
    assert not lock.locked()
    assert lock.statistics().tasks_waiting == 0


class Interrupted(Exception):
    """What the signal handler raises."""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send a signal to a thread")
@pytest.mark.parametrize("make", THREADED, ids=lambda variant: variant.name)
def test_threading_condition_with_an_interrupted_waiter(make: Variant) -> None:
    """gh-112202, for the main thread: a signal handler raises in its ``wait`` while another thread
    holds the lock. It has the lock back when the error comes out, and nobody is stranded.
    """
    lock: Any = make().lock
    condition = threading.Condition(lock)
    main_thread = threading.get_ident()
    interrupted = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise Interrupted

    def hold_and_send() -> None:
        with condition:  # which the main thread gives away in its wait
            latest = time.monotonic() + PATIENCE
            # A signal that comes just before it blocks would only be handled after that.
            while not interrupted and time.monotonic() < latest:
                signal.pthread_kill(main_thread, signal.SIGUSR1)
                time.sleep(0.0005)
            while not lock.statistics().tasks_waiting and time.monotonic() < latest:
                time.sleep(0.0005)  # until it takes the lock back

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        for _ in range(3):
            interrupted = False
            sender = threading.Thread(target=hold_and_send)
            with condition:
                sender.start()
                with pytest.raises(Interrupted):
                    condition.wait(PATIENCE)
                assert lock.locked()
                assert not lock.acquire(blocking=False)
            sender.join(PATIENCE)
            assert not sender.is_alive()
            assert not lock.locked()
            assert lock.statistics().tasks_waiting == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


# -- what does not go together ---------------------------------------------------------------------


def test_conditions_that_do_not_take_our_locks() -> None:
    """trio's condition reaches into trio's lock and takes no other. Those of asyncio and anyio
    await ``acquire``, which for threads is no coroutine: a loud error.
    """
    for lock in (BackoffLock(), ThreadBackoffLock()):
        with pytest.raises(TypeError, match=r"trio\.Lock"):
            trio.Condition(lock)  # type: ignore[arg-type]

    async def enter(condition: Condition) -> None:
        async with condition:
            pass

    for new_condition in (new_asyncio_condition, new_anyio_condition):
        with pytest.raises(TypeError, match="await"):
            asyncio.run(enter(new_condition(ThreadBackoffLock())))
