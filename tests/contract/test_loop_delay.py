"""Risk: waiting blocks an event loop."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable

import pytest

from backofflock import ThreadBackoffLock

from .checks import Ledger, assert_at_rest
from .hosts import LOOPS, ON_ASYNCIO, ON_THREADS, ON_TRIO, Host, elsewhere, pairs
from .subjects import OVER_FACE, OVER_LOCK, THREADS, THREADS_SLEEP_OUT, Make
from .worlds import World

HOLD = 0.040
"""Seconds that a thread holds: what a loop would stand still for if waiting blocked it."""


def quantile(gaps: list[float], share: float) -> float:
    """Return the gap in which a moment falls that has this share of the time in shorter ones.

    By time and not by number: a loop that is blocked has few gaps, and nearly all time is in them.
    """
    passed, end = 0.0, share * sum(gaps)
    for gap in sorted(gaps):
        passed += gap
        if passed >= end:
            return gap
    raise AssertionError("no gaps")


def check_loop_delay_stays(make: Make, host: Host) -> None:
    """While threads hold the lock and tasks wait for it, the loop turns as it does without.

    A metronome on the loop measures the gaps between its ticks while two threads do the same work,
    in turn with the lock and each with one of its own, in slices of about 80 ms: whatever else the
    machine does, it does to both. The tolerance is a quarter of a hold.
    """

    async def main(world: World) -> None:
        subject = make()
        direct = subject.direct
        assert direct is not None
        gaps: dict[bool, list[float]] = {False: [], True: []}
        contended, over = False, False
        ledger = Ledger()

        async def tick(world: World) -> None:
            last = time.monotonic()
            while not over:
                phase = contended
                await world.sleep(0.001)
                now = time.monotonic()
                if phase == contended:
                    gaps[phase].append(now - last)
                last = now

        async def work(world: World) -> None:
            alone = ThreadBackoffLock()
            while not over:
                with direct if contended else alone:
                    time.sleep(HOLD)  # noqa: ASYNC251 - it runs in a thread
                time.sleep(0.001)  # noqa: ASYNC251

        async def wait(world: World) -> None:
            while not over:
                if contended:
                    async with world.hold(subject):
                        with ledger.visit("task"):
                            pass
                await world.sleep(0.002)

        with elsewhere(ON_THREADS) as threads:
            contestants = [threads.spawn(work) for _ in range(2)]
            contestants += [world.spawn(each) for each in (tick, wait, wait)]
            try:
                for _ in range(3):
                    contended = False
                    await world.sleep(2 * HOLD)
                    contended = True
                    await world.sleep(2 * HOLD)
            finally:
                over = True
            await world.join(contestants)
        assert ledger.visits, "no task had to wait: this shows nothing"
        for share in (0.5, 0.75):
            without, with_lock = quantile(gaps[False], share), quantile(gaps[True], share)
            assert with_lock < without + HOLD / 4, (share, without, with_lock)
        await assert_at_rest(world, subject)

    host.run(main)


def check_deadlock_is_refused(make: Make, host: Host) -> None:
    """A blocking acquire in the very loop whose task holds the lock raises RuntimeError."""

    async def main(world: World) -> None:
        subject = make(name="orders")
        lock = subject.lock
        assert isinstance(lock, ThreadBackoffLock)

        async def block(world: World) -> list[str]:
            messages = []
            for acquire in blocking_ways(lock):
                with pytest.raises(RuntimeError) as caught:
                    acquire()
                messages.append(str(caught.value))
                assert subject.waiting() == 0
            assert lock.acquire(blocking=False) is False  # that does not block
            assert lock.acquire(timeout=0) is False
            return messages

        async with lock:
            (messages,) = await world.join([world.spawn(block)])
        for message in messages:
            assert "deadlock" in message, message
            assert "orders" in message, message
        for acquire in blocking_ways(lock):  # a free lock makes nobody wait
            acquire()
            lock.release()
        await assert_at_rest(world, subject)

    host.run(main)


def blocking_ways(lock: ThreadBackoffLock) -> list[Callable[[], object]]:
    return [lock.acquire, lock.__enter__, lambda: lock.acquire(timeout=5.0)]


def check_stall_is_warned_of(make: Make, host: Host) -> None:
    """A thread holds, so the wait would end; but the loop stands still meanwhile: a warning."""

    async def main(world: World) -> None:
        subject = make(name="orders")
        lock = subject.lock
        assert isinstance(lock, ThreadBackoffLock)
        holding = threading.Event()

        async def hold(world: World) -> None:
            with lock:
                holding.set()
                await world.until(subject.waiting, "the waiter that blocks its loop")

        for acquire in blocking_ways(lock):
            holding.clear()
            with elsewhere(ON_THREADS) as threads:
                holder = threads.spawn(hold)
                await world.until(holding.is_set, "the holder")
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    acquire()
                lock.release()
                await world.join([holder])
            assert [warning.category for warning in caught] == [RuntimeWarning]
            assert "orders" in str(caught[0].message)
            assert caught[0].filename == __file__, "it must point to the caller"
        await assert_at_rest(world, subject)

    host.run(main)


@pairs([THREADS], LOOPS)
def test_loop_delay_stays(make: Make, host: Host) -> None:
    check_loop_delay_stays(make, host)


@pairs([THREADS_SLEEP_OUT, OVER_LOCK, OVER_FACE], [ON_ASYNCIO, ON_TRIO])
def test_loop_delay_stays_with_other_variants(make: Make, host: Host) -> None:
    check_loop_delay_stays(make, host)


@pairs([THREADS], LOOPS)
def test_deadlock_is_refused(make: Make, host: Host) -> None:
    check_deadlock_is_refused(make, host)


@pairs([THREADS], LOOPS)
def test_stall_is_warned_of(make: Make, host: Host) -> None:
    check_stall_is_warned_of(make, host)
