"""A finalizer or a signal handler uses the lock while the lock's own code is interrupted by it."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable

import pytest

from backofflock import Constant, ThreadBackoffLock, WouldBlock

from ..contract.checks import ASLEEP, Ledger, assert_at_rest
from ..contract.hosts import (
    ON_ASYNCIO,
    ON_THREADS,
    ON_TRIO,
    ON_UVLOOP,
    Host,
    pairs,
)
from ..contract.subjects import BARGING, FACES, STRICT, TASKS, THREADS, Make, Subject, Variant
from ..contract.worlds import Contestant, World
from .naive import Guarded, SelfDeadlock
from .strikes import Strikes, act_after, eager_collector, finalizers, signals

ENOUGH = 300
"""How often the lock's own code shall have been struck before a test may end."""

FUNCTIONS = 5
"""In how many of its functions."""

TURNS = (0.0, 0.0, 0.0, 0.0005)
"""Seconds between two visits: now others wait for the lock, and now it is free."""

BRISK = Constant(0.001, jitter=0.5)

RELEASES = [ON_ASYNCIO, ON_UVLOOP, ON_TRIO]
"""The loops in whose thread a finalizer or handler may release, wherever it strikes."""

no_itimer = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no setitimer")


class Taker:
    """Takes and releases a lock if it is free, as a finalizer or handler may: without waiting."""

    def __init__(self, subject: Subject, ledger: Ledger) -> None:
        self._lock = subject.lock
        self._ledger = ledger
        self.taken = 0

    def __call__(self) -> None:
        lock = self._lock
        if isinstance(lock, ThreadBackoffLock):
            if not lock.acquire(blocking=False):
                return
        else:
            try:
                lock.acquire_nowait()
            except WouldBlock:
                return
            except RuntimeError:  # no task is running, or it is the owner
                return
        with self._ledger.visit("the one that strikes"):
            self.taken += 1
        lock.release()


def visits_until(subject: Subject, ledger: Ledger, enough: Callable[[], bool]) -> Contestant[None]:
    """Return a contestant that visits again and again."""

    rng = random.Random(20)

    async def visit(world: World) -> None:
        latest = time.monotonic() + world.patience
        while not enough() and time.monotonic() < latest:
            async with world.hold(subject):
                with ledger.visit("a contestant"):
                    await world.sleep(0)
            await world.sleep(rng.choice(TURNS))

    return visit


async def visit_alone(world: World, subject: Subject, ledger: Ledger, taker: Taker) -> None:
    """Visit without contention, until the one that strikes has had the lock a few times too."""
    latest = time.monotonic() + world.patience
    while taker.taken < 10:
        assert time.monotonic() < latest
        async with world.hold(subject):
            with ledger.visit("the only contestant"):
                pass


def assert_struck(strikes: Strikes, count: int = ENOUGH, functions: int = FUNCTIONS) -> None:
    """Check that nothing went wrong, and that they struck all over the lock's code."""
    assert strikes.errors == []
    assert strikes.count() >= count, strikes.inside
    assert len(strikes.inside) >= functions, strikes.inside


# -- a finalizer -----------------------------------------------------------------------------------


def check_finalizers_take_it(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        subject = make(schedule=BRISK)
        ledger, strikes = Ledger(), Strikes()
        taker = Taker(subject, ledger)
        visit = visits_until(subject, ledger, lambda: strikes.are_enough(ENOUGH, FUNCTIONS))
        with finalizers(taker, strikes):
            await visit_alone(world, subject, ledger, taker)
            await world.join([world.spawn(visit) for _ in range(3)])
        assert_struck(strikes)
        await assert_at_rest(world, subject)

    host.run(main)


@pairs(FACES, [ON_THREADS, *RELEASES])
def test_gc_finalizer_takes_the_lock_while_its_internals_run(make: Make, host: Host) -> None:
    """httpcore #1108 (https://github.com/encode/httpcore/pull/1108): garbage collection set in
    while a thread was inside the connection pool's lock, and finalized an abandoned response, which
    wanted the very same lock: the thread waited for itself, for ever.
    """
    check_finalizers_take_it(make, host)


@pairs([TASKS], [ON_TRIO])
def test_gc_finalizer_takes_the_lock_of_its_task(make: Make, host: Host) -> None:
    """httpcore #1108, on trio: there a `BackoffLock` is taken and released while a task runs."""
    check_finalizers_take_it(make, host)


def check_finalizers_release_it(make: Make, host: Host) -> None:
    """Who acquires leaves the lock to an object that is garbage; the collector releases it.

    That is some collections later, most of them in the code of those who wait for it by then.
    """

    async def main(world: World) -> None:
        subject = make(schedule=BRISK)
        strikes = Strikes()
        rng = random.Random(20)
        held = over = False

        def give_back() -> None:
            nonlocal held
            held = False
            world.release(subject)

        async def acquire(world: World) -> None:
            nonlocal held
            latest = time.monotonic() + world.patience
            while not strikes.are_enough(ENOUGH, FUNCTIONS) and time.monotonic() < latest:
                assert await world.acquire(subject, timeout=world.patience)
                assert not held, "two have it"
                held = True
                # Now at once, and now when all the others wait.
                act_after(rng.randrange(1, rng.choice((16, 16, 16, 16, 256))), give_back, strikes)

        async def make_objects(world: World) -> None:
            while not over:  # where all others sleep nothing would be collected
                _ = [Exception() for _ in range(4)]
                await world.sleep(0.0005)

        with eager_collector():
            maker = world.spawn(make_objects)
            await world.join([world.spawn(acquire) for _ in range(3)])
            await world.until(lambda: not subject.lock.locked(), "the last collection")
            over = True
            await world.join([maker])
        assert_struck(strikes)
        await assert_at_rest(world, subject)

    host.run(main)


@pairs([THREADS, STRICT], [ON_THREADS, *RELEASES])
def test_gc_finalizer_releases_the_lock_while_its_internals_run(make: Make, host: Host) -> None:
    """httpcore #1108, the other way round: the finalizer gives back what its thread waits for, in
    the middle of the wait. (A `BackoffLock` can only be released by the task that owns it.)
    """
    check_finalizers_release_it(make, host)


@pairs([THREADS], [ON_THREADS])
def test_gc_finalizer_waits_for_the_lock_while_its_internals_run(make: Make, host: Host) -> None:
    """httpcore #1108, where the finalizer waits a moment, in the queue of the lock, and behind the
    waiter that it interrupted.
    """

    async def main(world: World) -> None:
        subject = make(schedule=BRISK)
        lock = subject.lock
        assert isinstance(lock, ThreadBackoffLock)
        ledger, strikes = Ledger(), Strikes()
        enough = 100

        def wait() -> None:
            if lock.acquire(timeout=0.0005):
                with ledger.visit("the one that strikes"):
                    pass
                lock.release()

        visit = visits_until(subject, ledger, lambda: strikes.count() >= enough)
        with finalizers(wait, strikes):
            await world.join([world.spawn(visit) for _ in range(3)])
        assert_struck(strikes, enough, functions=1)
        assert lock.statistics().contended > 0
        await assert_at_rest(world, subject)

    host.run(main)


def test_gc_finalizer_bites() -> None:
    """A lock with a mutex inside cannot stand it."""
    lock, strikes = Guarded(), Strikes(__file__)

    def take() -> None:
        if lock.acquire(False):
            lock.release()

    latest = time.monotonic() + 10.0
    with finalizers(take, strikes):
        while not strikes.errors and time.monotonic() < latest:
            take()
    assert isinstance(strikes.errors[0], SelfDeadlock)


# -- a signal handler ------------------------------------------------------------------------------


@no_itimer
@pytest.mark.parametrize("make", [THREADS, STRICT, BARGING], ids=lambda variant: variant.name)
def test_signal_handler_takes_the_lock_while_its_internals_run(make: Variant) -> None:
    """gh-144706 (https://github.com/python/cpython/pull/144736): the manual warns that a lock must
    not be used in a signal handler, as the handler may have interrupted the thread inside it; its
    readers had met hangs. aiologic 0.15.0 (its changelog) mended a reentrant lock that a handler
    could release too early. A handler that takes our lock without waiting disturbs nothing.
    """
    subject = make(schedule=BRISK)
    lock = subject.lock
    assert isinstance(lock, ThreadBackoffLock)
    ledger, strikes = Ledger(), Strikes()
    taker = Taker(subject, ledger)
    over = threading.Event()
    errors: list[BaseException] = []

    def contend() -> None:
        try:
            while not over.is_set():
                with lock, ledger.visit("a thread"):
                    pass
                time.sleep(0.0001)
        except BaseException as error:
            errors.append(error)

    other = threading.Thread(target=contend)
    other.start()
    latest = time.monotonic() + 20.0
    try:
        with signals(taker, strikes):
            while not strikes.are_enough(ENOUGH, FUNCTIONS) and time.monotonic() < latest:
                with lock, ledger.visit("the main thread"):
                    pass
    finally:
        over.set()
        other.join(10.0)
    assert errors == []
    assert_struck(strikes)
    assert not lock.locked()
    assert subject.waiting() == 0


@no_itimer
@pairs(FACES, RELEASES)
def test_signal_handler_takes_the_lock_in_a_loop(make: Make, host: Host) -> None:
    """gh-144706, where the interrupted thread runs an event loop and its tasks use the lock."""

    async def main(world: World) -> None:
        subject = make(schedule=BRISK)
        ledger, strikes = Ledger(), Strikes()
        taker = Taker(subject, ledger)
        visit = visits_until(subject, ledger, lambda: strikes.are_enough(ENOUGH, FUNCTIONS))
        with signals(taker, strikes):
            await visit_alone(world, subject, ledger, taker)
            await world.join([world.spawn(visit) for _ in range(3)])
        assert_struck(strikes)
        await assert_at_rest(world, subject)

    host.run(main)


@no_itimer
@pytest.mark.parametrize("make", [THREADS, STRICT, BARGING], ids=lambda variant: variant.name)
def test_signal_handler_releases_the_lock_while_its_internals_run(make: Variant) -> None:
    """gh-144706: the handler releases what the main thread waits for, at any point of the wait.

    Every nap is longer than the test: a release that went unnoticed would show.
    """
    lock = make(schedule=ASLEEP).lock
    assert isinstance(lock, ThreadBackoffLock)
    strikes = Strikes()
    latest = time.monotonic() + 30.0
    lock.acquire()
    with signals(lock.release, strikes, again=False) as arm:
        while True:
            assert lock.acquire(timeout=10.0)
            assert lock.statistics().tasks_waiting == 0
            if strikes.are_enough(ENOUGH, FUNCTIONS) or time.monotonic() > latest:
                break
            arm()
    assert_struck(strikes)
    lock.release()
    assert lock.statistics().longest_wait < 5.0
    assert not lock.locked()


@no_itimer
@pairs([THREADS], RELEASES)
def test_signal_handler_releases_the_lock_in_a_loop(make: Make, host: Host) -> None:
    """gh-144706: the handler releases what a task waits for, inside the lock's code, the loop's, or
    while the loop sleeps, which the wake-up does not end: then the task sleeps its nap out.
    """

    async def main(world: World) -> None:
        subject = make(schedule=BRISK)
        strikes = Strikes()
        latest = time.monotonic() + world.patience
        assert await world.acquire(subject)
        with signals(subject.lock.release, strikes, again=False) as arm:
            while True:
                assert await world.acquire(subject, timeout=world.patience)
                if strikes.are_enough(ENOUGH, FUNCTIONS) or time.monotonic() > latest:
                    break
                arm()
        assert_struck(strikes)
        world.release(subject)
        await assert_at_rest(world, subject)

    host.run(main)


@no_itimer
def test_signal_handler_bites() -> None:
    """A lock with a mutex inside cannot stand it."""
    lock, strikes = Guarded(), Strikes(__file__)

    def take() -> None:
        if lock.acquire(False):
            lock.release()

    latest = time.monotonic() + 10.0
    with signals(take, strikes):
        while not strikes.errors and time.monotonic() < latest:
            take()
    assert isinstance(strikes.errors[0], SelfDeadlock)
