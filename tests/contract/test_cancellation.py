"""Risk: a cancelled or interrupted waiter takes the key, a wake-up or a place along with it."""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
import time
from types import FrameType

import anyio
import pytest
import trio

from backofflock import BackoffLock, ThreadBackoffLock

from .checks import ASLEEP, RESTING, Ledger, assert_at_rest, queued, visitor
from .hosts import (
    LOOPS,
    ON_ANYIO_TRIO,
    ON_ASYNCIO,
    ON_TRIO,
    TASK_HOSTS,
    Host,
    pairs,
)
from .subjects import FACES, VARIANTS, Make, Variant, waits_for_the_late
from .worlds import Handle, World

WAKING = [variant for variant in VARIANTS if variant.wakes]


def check_cancelled_while_waiting(make: Make, host: Host) -> None:
    """It leaves the queue at once, and those behind it do not notice."""

    async def main(world: World) -> None:
        subject = make()
        ledger = Ledger()
        waiters = []
        async with world.hold(subject):
            for place in range(3):
                waiters.append(world.spawn(visitor(subject, ledger, f"waiter {place}")))
                await queued(world, subject, place + 1)
            for place in (0, 1):
                waiters[place].cancel()
                await world.join([waiters[place]])
                assert waiters[place].cancelled
                assert subject.waiting() == 2 - place
            assert subject.lock.statistics().cancellations == 2
        await world.join(waiters)
        assert ledger.visits == ["waiter 2"]
        await assert_at_rest(world, subject)

    host.run(main)


def check_cancelled_in_the_turn_of_the_release(make: Make, host: Host, cancel_first: bool) -> None:
    """The woken waiter has the lock, or has left; if it left, it passes the wake-up on.

    Where nobody rests every nap is longer than the test, so nothing but the wake-up can bring the
    next one in.
    """

    async def main(world: World) -> None:
        ledger = Ledger()
        for schedule in (ASLEEP, RESTING, ASLEEP):
            subject = make(schedule=schedule)
            assert await world.acquire(subject)
            handles = []
            for place in range(4):
                handles.append(world.spawn(visitor(subject, ledger, f"waiter {place}")))
                await queued(world, subject, place + 1)
            if cancel_first:
                handles[0].cancel()
                world.release(subject)
            else:
                world.release(subject)
                handles[0].cancel()
            await world.join(handles)
            first = ["waiter 0"] if "waiter 0" in ledger.visits else []
            assert first or handles[0].cancelled
            assert ledger.visits == [*first, "waiter 1", "waiter 2", "waiter 3"]
            ledger.visits.clear()
            await assert_at_rest(world, subject)

    host.run(main)


def check_all_cancelled_in_the_turn_of_the_release(make: Make, host: Host) -> None:
    """The wake-up passes from one cancelled waiter to the next and ends with nobody."""

    async def main(world: World) -> None:
        subject = make(schedule=ASLEEP)
        ledger = Ledger()
        assert await world.acquire(subject)
        handles = [world.spawn(visitor(subject, ledger)) for _ in range(5)]
        await queued(world, subject, 5)
        world.release(subject)
        for handle in handles:
            handle.cancel()
        await world.join(handles)
        assert sum(handle.cancelled for handle in handles) >= 5 - len(ledger.visits)
        await assert_at_rest(world, subject)
        await world.join([world.spawn(visitor(subject, ledger, "newcomer"))])
        assert ledger.visits[-1] == "newcomer"

    host.run(main)


def check_cancelled_inside(make: Make, host: Host) -> None:
    """Cancelled while it holds, it releases, and the next one comes in."""

    async def main(world: World) -> None:
        subject = make(schedule=ASLEEP)
        ledger = Ledger()
        holder = world.spawn(visitor(subject, ledger, "holder", seconds=30.0))
        await world.until(lambda: ledger.visits, "the holder's visit")
        waiter = world.spawn(visitor(subject, ledger, "waiter"))
        await queued(world, subject, 1)
        holder.cancel()
        await world.join([holder, waiter])
        assert holder.cancelled
        assert ledger.visits == ["holder", "waiter"]
        await assert_at_rest(world, subject)

    host.run(main)


def check_cancelled_at_the_checkpoint(make: Make, host: Host) -> None:
    """In trio an acquire of a free lock is a checkpoint; cancelled there, nothing is held."""
    cancel_scope = anyio.CancelScope if host is ON_ANYIO_TRIO else trio.CancelScope

    async def main(world: World) -> None:
        subject = make()
        lock = subject.lock
        acquire = lock.acquire if isinstance(lock, BackoffLock) else lock.acquire_async

        async def step() -> None:
            async for _ in lock.attempts():
                pass

        for enter in (acquire, lock.__aenter__, step):
            with cancel_scope() as scope:
                scope.cancel()
                await enter()
            assert scope.cancelled_caught
            await assert_at_rest(world, subject)

    host.run(main)


def check_cancelled_before_its_first_step(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        subject = make()
        ledger = Ledger()
        for free in (True, False):
            assert free or world.try_once(subject)
            handle = world.spawn(visitor(subject, ledger, seconds=0.001))
            handle.cancel()
            await world.join([handle])
            if not free:
                world.release(subject)
            await assert_at_rest(world, subject)

    host.run(main)


def check_cancel_storm(make: Make, host: Host, tasks: int = 20_000) -> None:
    """A third of them cancelled at random moments: never two inside, one key, an empty queue."""

    async def main(world: World) -> None:
        subject = make()
        ledger = Ledger()
        rng = random.Random(20_000)
        handles: list[Handle[None]] = []
        victims: list[Handle[None]] = []

        async def cancel_down_to(left: int) -> None:
            while len(victims) > left:
                # Between two turns none, one or many: sleepers, the woken and the holder.
                for _ in range(rng.choice((0, 1, 2, 3, 40))):
                    if len(victims) > left:
                        victims.pop().cancel()
                await world.sleep(0)

        async with world.hold(subject):
            with ledger.visit("the holder"):
                for place in range(tasks):
                    handles.append(world.spawn(visitor(subject, ledger)))
                    if place % 256 == 0:
                        await world.sleep(0)
                await queued(world, subject, tasks)
                victims = rng.sample(handles, tasks // 3)
                await cancel_down_to(tasks // 6)
        await cancel_down_to(0)
        await world.join(handles)
        cancelled = sum(handle.cancelled for handle in handles)
        assert cancelled >= tasks // 6
        assert len(ledger.visits) >= tasks - cancelled
        await assert_at_rest(world, subject)

    host.run(main)


@pairs(VARIANTS, TASK_HOSTS)
def test_cancelled_while_waiting(make: Make, host: Host) -> None:
    check_cancelled_while_waiting(make, host)


@pytest.mark.parametrize("cancel_first", [False, True], ids=["release-cancel", "cancel-release"])
@pairs([variant for variant in WAKING if variant.strict], TASK_HOSTS)
def test_cancelled_in_the_turn_of_the_release(make: Make, host: Host, cancel_first: bool) -> None:
    check_cancelled_in_the_turn_of_the_release(waits_for_the_late(make), host, cancel_first)


@pairs(WAKING, TASK_HOSTS)
def test_all_cancelled_in_the_turn_of_the_release(make: Make, host: Host) -> None:
    check_all_cancelled_in_the_turn_of_the_release(make, host)


@pairs(WAKING, TASK_HOSTS)
def test_cancelled_inside(make: Make, host: Host) -> None:
    check_cancelled_inside(make, host)


@pairs(VARIANTS, [ON_TRIO, ON_ANYIO_TRIO])
def test_cancelled_at_the_checkpoint(make: Make, host: Host) -> None:
    check_cancelled_at_the_checkpoint(make, host)


@pairs(VARIANTS, LOOPS)
def test_cancelled_before_its_first_step(make: Make, host: Host) -> None:
    check_cancelled_before_its_first_step(make, host)


@pairs(FACES, [ON_ASYNCIO, ON_TRIO])
def test_20_000_tasks_a_third_of_them_cancelled(make: Make, host: Host) -> None:
    # The collector of cyclic garbage would take a third of the time to look at 20,000 live tasks.
    gc.disable()
    try:
        check_cancel_storm(make, host)
    finally:
        gc.enable()


@pairs(VARIANTS, TASK_HOSTS)
def test_hundreds_of_tasks_a_third_of_them_cancelled(make: Variant, host: Host) -> None:
    # Where nobody is woken, each waiter tries again and again: fewer of them are as much work.
    check_cancel_storm(make, host, tasks=300 if make.wakes else 60)


class Interrupted(Exception):
    """What the signal handler raises."""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send a signal to a thread")
@pytest.mark.parametrize("make", [v for v in VARIANTS if v.for_threads], ids=lambda v: v.name)
def test_a_thread_that_a_signal_interrupts(make: Make) -> None:
    """A thread cannot be cancelled, but a signal handler may raise in its nap."""
    subject = make(schedule=ASLEEP)
    lock = subject.lock
    assert isinstance(lock, ThreadBackoffLock)
    main_thread = threading.get_ident()

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise Interrupted

    def send() -> None:
        latest = time.monotonic() + 10.0
        while not subject.waiting() and time.monotonic() < latest:
            time.sleep(0.001)
        signal.pthread_kill(main_thread, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        for _ in range(3):
            with lock:
                sender = threading.Thread(target=send)
                sender.start()
                with pytest.raises(Interrupted):
                    lock.acquire()
                sender.join()
                assert lock.locked()
                assert subject.waiting() == 0
            assert lock.acquire(blocking=False)
            assert not lock.acquire(blocking=False)
            lock.release()
    finally:
        signal.signal(signal.SIGUSR1, before)
