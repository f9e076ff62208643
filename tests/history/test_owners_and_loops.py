"""Owners that end, and event loops that are others', closed or blocked."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from ..contract.checks import Ledger, assert_at_rest, queued, visitor
from ..contract.hosts import (
    HOSTS,
    LOOPS,
    ON_ASYNCIO,
    ON_MIXED,
    ON_MIXED_TASKS,
    ON_THREADS,
    ON_TRIO,
    ON_UVLOOP,
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
    Subject,
)
from ..contract.task_worlds import AsyncioWorld
from ..contract.test_dead_loop import (
    check_blocked_loop_costs_the_next_little,
    check_newcomer_passes_a_closed_loop,
    check_owner_died,
    check_waking_a_closed_loop_drops_the_waiter,
)
from ..contract.test_exclusion import check_never_two_inside
from ..contract.worlds import Contestant, World
from .naive import HandsOverAcrossLoops

# -- the owner ends holding ------------------------------------------------------------------------


@pairs([TASKS, OVER_LOCK], LOOPS)
def test_owner_ends_holding(make: Make, host: Host) -> None:
    """trio #3035 (https://github.com/python-trio/trio/issues/3035): a task that held a `trio.Lock`
    ended; only it could have released the lock, so all others waited for ever. trio now tells
    them, and so does the lock that knows its owner.
    """
    check_owner_died(make, host, ON_ASYNCIO)


def check_another_releases_for_one_that_ended(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        subject = make()
        ledger = Ledger()

        async def acquire_and_end(world: World) -> None:
            assert await world.acquire(subject)
            await world.sleep(0)

        await world.join([world.spawn(acquire_and_end)])
        waiters = [world.spawn(visitor(subject, ledger)) for _ in range(3)]
        await queued(world, subject, 3)
        assert ledger.visits == []
        world.release(subject)
        await world.join(waiters)
        assert len(ledger.visits) == 3
        await assert_at_rest(world, subject)

    host.run(main)


@pairs([THREADS], HOSTS)
def test_owner_ends_holding_a_lock_without_owner(make: Make, host: Host) -> None:
    """trio #3035, on the lock that threads share: as with `threading.Lock` the one that acquired
    may end, for anybody may release. Nobody is told, and nothing is lost.
    """
    check_another_releases_for_one_that_ended(make, host)


def test_owner_ends_holding_bites() -> None:
    """The lock of asyncio tells nobody: the waiter waits on, whatever time passes."""

    async def main() -> None:
        lock = asyncio.Lock()
        await asyncio.create_task(lock.acquire())  # and the task has ended
        waiter = asyncio.create_task(lock.acquire())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiter.done()
        waiter.cancel()

    asyncio.run(main())


# -- on a loop that is another's -------------------------------------------------------------------


def contention(subject: Subject) -> Contestant[None]:
    """Return a contestant that makes others wait for the lock, and waits itself."""

    async def main(world: World) -> None:
        ledger = Ledger()
        async with world.hold(subject):
            handles = [world.spawn(visitor(subject, ledger)) for _ in range(3)]
            await queued(world, subject, 3)
        await world.join(handles)
        await assert_at_rest(world, subject)

    return main


@pairs(VARIANTS, [*LOOPS, ON_THREADS])
def test_cross_loop_use_one_after_another(make: Make, host: Host) -> None:
    """gh-86558, bpo-42392 (https://github.com/python/cpython/pull/23420): an `asyncio.Lock` belongs
    to the loop on which a task first had to wait for it and raises RuntimeError on any other; one
    made at import time fails at the second ``asyncio.run``. Ours is the same lock on every loop.
    """
    subject = make()
    host.run(contention(subject))
    host.run(contention(subject))
    ON_TRIO.run(contention(subject))


@pairs(VARIANTS, [ON_MIXED_TASKS, ON_MIXED])
def test_cross_loop_use_at_once(make: Make, host: Host) -> None:
    """The same bug, with the loops side by side in threads of their own."""
    check_never_two_inside(make, host)


def test_cross_loop_use_bites() -> None:
    lock = asyncio.Lock()

    async def contend() -> None:
        async with lock:
            waiter = asyncio.create_task(lock.acquire())
            await asyncio.sleep(0)
        await waiter
        lock.release()

    asyncio.run(contend())
    with pytest.raises(RuntimeError, match="different event loop"):
        asyncio.run(contend())


# -- the next waiter's loop is closed --------------------------------------------------------------

CLOSED = pytest.mark.parametrize(
    "closed",
    [
        pytest.param(
            host,
            id=f"{host.name}-closed",
            marks=pytest.mark.skipif(host.missing is not None, reason=host.missing or ""),
        )
        for host in (ON_ASYNCIO, ON_UVLOOP, ON_TRIO)
    ],
)


@CLOSED
@pairs([*FACES, OVER_FACE, STRICT], [ON_THREADS, ON_ASYNCIO, ON_TRIO])
def test_hand_off_to_a_closed_loop(make: Make, host: Host, closed: Host) -> None:
    """bpo-44508 (https://github.com/python/cpython/pull/27688): ``call_soon_threadsafe`` raises
    RuntimeError when the loop is closed; anyio #1265
    (https://github.com/agronholm/anyio/issues/1265) is one victim, which looked before it called.
    A lock that hands itself to such a waiter fails in the releaser and is lost.
    """
    check_waking_a_closed_loop_drops_the_waiter(make, host, closed)
    check_newcomer_passes_a_closed_loop(make, host, closed)


def test_hand_off_to_a_closed_loop_bites() -> None:
    lock = HandsOverAcrossLoops()
    asyncio.run(lock.acquire())
    loop = asyncio.new_event_loop()
    waiter = loop.create_task(lock.acquire())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        lock.release()
    assert lock.held, "handed over, and to nobody"
    assert not waiter.done()
    waiter._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant to be so


# -- the next waiter's loop is blocked -------------------------------------------------------------


@pairs(FACES, [ON_THREADS, ON_TRIO])
def test_convoy_behind_a_blocked_loop(make: Make, host: Host) -> None:
    """Blasgen, Gray, Mitoma and Price, "The convoy phenomenon", ACM Operating Systems Review 13(2),
    1979: a lock that is granted to the first waiter at the release stays with one that cannot run,
    and all others pile up behind it. Here the first waiter's event loop is blocked.
    """
    check_blocked_loop_costs_the_next_little(make, host, ON_ASYNCIO)


def test_convoy_behind_a_blocked_loop_bites() -> None:
    lock = HandsOverAcrossLoops()

    async def visit(world: World) -> None:
        await lock.acquire()
        lock.release()

    def until_they_wait(count: int) -> None:
        latest = time.monotonic() + 10.0
        while len(lock.queue) < count:
            assert time.monotonic() < latest
            time.sleep(0.001)

    asyncio.run(lock.acquire())
    is_blocked, go_on = threading.Event(), threading.Event()

    def block() -> None:
        is_blocked.set()
        go_on.wait(10.0)

    with elsewhere(ON_ASYNCIO) as there, elsewhere(ON_ASYNCIO) as here:
        assert isinstance(there, AsyncioWorld)
        first = there.spawn(visit)
        until_they_wait(1)
        second = here.spawn(visit)
        until_they_wait(2)
        there.call_soon(block)
        assert is_blocked.wait(10.0)
        lock.release()
        time.sleep(0.150)  # more than ours needs; this one will not come in however long we wait
        assert not second.done
        assert len(lock.queue) == 1
        go_on.set()
        latest = time.monotonic() + 10.0
        while not (first.done and second.done):
            assert time.monotonic() < latest
            time.sleep(0.001)
    assert not lock.held
