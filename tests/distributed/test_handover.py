"""Risk: a lease that is handed over within the process is not what its next holder asked for."""

from __future__ import annotations

import asyncio
import random
import threading
from itertools import pairwise
from math import inf
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from backofflock import (
    BackendUnavailable,
    DistributedLock,
    LeaseLost,
    LockEvent,
    ThreadDistributedLock,
    instrument,
)
from backofflock.distributed._policy import TAKEN, Nap, keep
from backofflock.leases import Lease

from . import memory
from .handing import Clock, Lock, a_lease, assert_free, store_of, virtual_clock, waiting
from .hosts import on_each_host, run, until
from .memory import AsyncMemory, Memory

# -- one grant for many ----------------------------------------------------------------------------


@on_each_host
@pytest.mark.parametrize(("block", "grants"), [(100, 1), (20, 1), (19, 2), (4, 5), (2, 10)])
def test_tasks_that_wait_share_a_grant(host: str, block: int, grants: int) -> None:
    async def main() -> None:
        store = store_of(block)
        lock = DistributedLock("orders", AsyncMemory(store))
        seen: list[Lease] = []

        async def enter() -> None:
            async with lock as lease:
                seen.append(lease)
                await anyio.lowlevel.checkpoint()
                lease.ensure_held()
                assert store.holder("orders") == lease.token
                assert lock.lease is lease

        async with anyio.create_task_group() as group, lock as first:
            seen.append(first)
            for _ in range(19):
                group.start_soon(enter)
            await until(waiting(lock, 19))
        assert store.requests == {"try_acquire": grants, "release": grants}
        check(seen, 20, grants)
        statistics = lock.statistics()
        assert (statistics.acquired, statistics.contended, statistics.lost) == (20, 19, 0)
        assert (statistics.attempts, statistics.handed_over) == (grants, 20 - grants)
        assert_free(lock, store)

    run(host, main)


def check(seen: list[Lease], number: int, grants: int) -> None:
    assert len(seen) == number
    assert all(before.fence < after.fence for before, after in pairwise(seen))
    assert len({lease.token for lease in seen}) == grants
    assert all(lease.lost.is_set() for lease in seen)


@pytest.mark.parametrize(("block", "grants"), [(100, 1), (3, 4)])
def test_threads_that_wait_share_a_grant(block: int, grants: int) -> None:
    store = store_of(block)
    lock = ThreadDistributedLock("orders", Memory(store))
    seen: list[Lease] = []

    def enter() -> None:
        with lock as lease:
            seen.append(lease)
            assert store.holder("orders") == lease.token

    threads = [threading.Thread(target=enter) for _ in range(10)]
    with lock as lease:
        seen.append(lease)
        for thread in threads:
            thread.start()
        memory.until(waiting(lock, 10))
    for thread in threads:
        thread.join(20)
    assert store.requests == {"try_acquire": grants, "release": grants}
    check(seen, 11, grants)
    assert_free(lock, store)


def test_a_task_leaves_it_to_a_thread() -> None:
    async def main() -> None:
        store = store_of(10)
        backend = Memory(store)
        lock, threads = DistributedLock("orders", backend), ThreadDistributedLock("orders", backend)
        fences: list[int] = []

        def enter() -> None:
            with threads as lease:
                fences.append(lease.fence)

        thread = threading.Thread(target=enter)
        async with lock as lease:
            fences.append(lease.fence)
            thread.start()
            await until(waiting(lock, 1))
        await until(lambda: not thread.is_alive())
        assert fences == [1, 2]
        assert store.requests == {"try_acquire": 1, "release": 1}
        assert_free(lock, store)

    run("asyncio", main)


def test_an_event_loop_that_is_busy_inherits_nothing() -> None:
    # It would keep the lock from other processes for as long as it is.
    store = store_of(10)
    backend = Memory(store)
    lock, threads = DistributedLock("orders", backend), ThreadDistributedLock("orders", backend)
    is_busy, go_on = threading.Event(), threading.Event()

    async def enter() -> None:
        async def other() -> None:
            async with lock:
                pass

        task = asyncio.create_task(other())
        await until(waiting(lock, 1))
        is_busy.set()
        go_on.wait(20)
        await task

    thread = threading.Thread(target=asyncio.run, args=(enter(),))
    with threads:
        thread.start()
        assert is_busy.wait(20)
    assert store.holder("orders") is None
    go_on.set()
    thread.join(20)
    assert store.requests == {"try_acquire": 2, "release": 2}
    assert_free(lock, store)


def test_nobody_waits_for_the_heir_of_a_task_that_keeps_the_loop_busy() -> None:
    async def main() -> None:
        store = store_of(10)
        lock = DistributedLock("orders", AsyncMemory(store))
        seen: list[Lease] = []

        async def other() -> None:
            async with lock as lease:
                seen.append(lease)

        await lock.acquire()
        task = asyncio.create_task(other())
        await until(waiting(lock, 1))
        await lock.release()
        assert seen  # before this task goes on, which might compute for a minute
        await task
        assert_free(lock, store)

    run("asyncio", main)


# -- to whom it would make a difference ------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"ttl": 30.0}, {"ttl": 20.0}),
        ({"renewal": False}, {}),
        ({}, {"renewal": False}),
        ({"renewal": 60.0}, {"renewal": 60.0}),
    ],
)
@on_each_host
def test_each_has_the_lease_that_it_asks_for(
    host: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    async def main() -> None:
        store = store_of(10)
        backend = AsyncMemory(store)
        locks = [DistributedLock("orders", backend, **options) for options in (first, second)]
        fences: list[int] = []

        async def other() -> None:
            async with locks[1] as lease:
                fences.append(lease.fence)
                assert lease.ttl == locks[1]._ttl
                assert lease.remaining() > lease.ttl - 5.0
                assert store.holder("orders") == lease.token

        async with anyio.create_task_group() as group, locks[0] as lease:
            fences.append(lease.fence)
            group.start_soon(other)
            await until(waiting(locks[1], 1))
        assert fences == [1, 11]
        assert store.requests == {"try_acquire": 2, "release": 2}
        assert locks[1].statistics().handed_over == 0
        assert_free(locks[0], store)

    run(host, main)


def test_in_threads_too() -> None:
    store = store_of(10)
    backend = Memory(store)
    first = ThreadDistributedLock("orders", backend)
    second = ThreadDistributedLock("orders", backend, ttl=20.0)
    fences: list[int] = []

    def other() -> None:
        with second as lease:
            fences.append(lease.fence)
            assert lease.ttl == 20.0

    thread = threading.Thread(target=other)
    with first as lease:
        fences.append(lease.fence)
        thread.start()
        memory.until(waiting(first, 1))
    thread.join(20)
    assert fences == [1, 11]
    assert store.requests == {"try_acquire": 2, "release": 2}
    assert_free(first, store)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return virtual_clock(monkeypatch)


def test_which_leases_change_hands(clock: Clock) -> None:
    lock = DistributedLock("orders", AsyncMemory())
    assert lock._may_change_hands(a_lease(clock))
    assert lock._may_change_hands(a_lease(clock, fence=4))
    assert not lock._may_change_hands(a_lease(clock, fence=5))
    assert not lock._may_change_hands(a_lease(clock, last=None))
    assert not lock._may_change_hands(a_lease(clock, ttl=31.0))
    assert not lock._may_change_hands(a_lease(clock, ttl=inf))
    lease = a_lease(clock)
    clock.now += 9.9
    assert lock._may_change_hands(lease)
    clock.now += 0.2  # a renewal is due
    assert not lock._may_change_hands(lease)
    lease.renewed = clock.now
    assert lock._may_change_hands(lease)
    lease.lost.failure = BackendUnavailable("memory://", "renew", "no answer")
    assert not lock._may_change_hands(lease)


def test_a_successor_is_renewed_when_its_predecessor_would_have_been(clock: Clock) -> None:
    lease = a_lease(clock, since=clock.now - 6.0)
    lease.renewed = clock.now - 4.0
    lease.lost.deadline = lease.renewed + 30.0
    after = lease.successor()
    assert (after.fence, after.last, after.token) == (2, 5, "a token")
    assert (after.since, after.renewed) == (clock.now, clock.now - 4.0)
    assert after.remaining() == 26.0
    rng = random.Random(1)
    wanted = 10.0 * (1.0 - 0.25 * random.Random(1).random()) - 4.0
    keeping = keep(after, 30.0, 5.0, rng=rng, now=clock)
    assert next(keeping) == Nap(wanted)
    clock.now += wanted
    keeping.send(None)
    keeping.send(True)
    assert after.renewed == clock.now
    assert after.remaining() == 30.0
    clock.now += 12.0
    late = after.successor()
    assert next(keep(late, 30.0, 5.0, now=clock)) == Nap(0.0)


# -- a loss ----------------------------------------------------------------------------------------


@on_each_host
def test_a_stolen_key_is_noticed_by_whoever_holds_it_now(host: str) -> None:
    async def main() -> None:
        store = store_of(10)
        lock = DistributedLock("orders", AsyncMemory(store), ttl=6.0)
        caught: list[LeaseLost] = []
        seen: list[Lease] = []

        async def heir() -> None:
            try:
                async with lock as lease:
                    seen.append(lease)
                    await anyio.sleep(30.0)
            except LeaseLost as error:
                caught.append(error)

        async with anyio.create_task_group() as group:
            async with lock:
                group.start_soon(heir)
                await until(waiting(lock, 1))
            store.delete("orders")
            await until(lambda: seen)
            assert seen[0].fence == 2
        assert [(error.fence, error.reason) for error in caught] == [(2, TAKEN)]
        assert seen[0].lost.was_in_time
        assert lock.statistics().lost == 1
        assert_free(lock, store)

    run(host, main)


def test_a_stolen_key_is_noticed_in_threads() -> None:
    store = store_of(10)
    lock = ThreadDistributedLock("orders", Memory(store), ttl=6.0)
    caught: list[LeaseLost] = []

    def heir() -> None:
        try:
            with lock as lease:
                assert lease.fence == 2
                assert lease.lost.wait(20.0)
                assert lease.lost.was_in_time
        except LeaseLost as error:
            caught.append(error)

    thread = threading.Thread(target=heir)
    with lock:
        thread.start()
        memory.until(waiting(lock, 1))
    store.delete("orders")
    thread.join(30)
    assert [(error.fence, error.reason) for error in caught] == [(2, TAKEN)]
    assert_free(lock, store)


def test_the_last_of_them_hears_that_it_had_been_lost() -> None:
    store = store_of(10)
    lock = ThreadDistributedLock("orders", Memory(store))
    caught: list[LeaseLost] = []

    def heir() -> None:
        try:
            with lock:
                store.delete("orders")
        except LeaseLost as error:
            caught.append(error)

    thread = threading.Thread(target=heir)
    with lock:
        thread.start()
        memory.until(waiting(lock, 1))
    thread.join(20)
    assert [(error.fence, error.reason) for error in caught] == [(2, TAKEN)]
    assert_free(lock, store)


@pytest.mark.parametrize("kind", [DistributedLock, ThreadDistributedLock])
def test_each_hold_is_told(kind: type[Lock]) -> None:
    store = store_of(10)
    backend = Memory(store)
    lock = ThreadDistributedLock("orders", backend)
    told: list[LockEvent] = []

    def enter() -> None:
        with lock:
            pass

    thread = threading.Thread(target=enter)

    async def in_a_task() -> None:
        async with DistributedLock("orders", backend):
            thread.start()
            await until(waiting(lock, 1))

    with instrument(told.append):
        if kind is DistributedLock:
            asyncio.run(in_a_task())
        else:
            with lock:
                thread.start()
                memory.until(waiting(lock, 1))
        thread.join(20)
    assert store.requests == {"try_acquire": 1, "release": 1}
    holds = [(event.face, event.outcome) for event in told if event.kind == "hold"]
    assert holds == [(kind.__name__, "released"), ("ThreadDistributedLock", "released")]
    waits = [(event.outcome, event.attempts) for event in told if event.kind == "wait"]
    assert waits == [("acquired", 0)]


@on_each_host
def test_what_was_lost_is_not_handed_over(host: str) -> None:
    async def main() -> None:
        store = store_of(10)
        lock = DistributedLock("orders", AsyncMemory(store))
        fences: list[int] = []

        async def other() -> None:
            async with lock as lease:
                fences.append(lease.fence)

        async with anyio.create_task_group() as group:
            with pytest.raises(LeaseLost, match="somebody said so"):
                async with lock as lease:
                    group.start_soon(other)
                    await until(waiting(lock, 1))
                    lease.lost.end("somebody said so")
        assert fences == [11]
        assert_free(lock, store)

    run(host, main)


def test_what_was_lost_is_not_handed_over_in_threads() -> None:
    store = store_of(10)
    lock = ThreadDistributedLock("orders", Memory(store))
    fences: list[int] = []

    def other() -> None:
        with lock as lease:
            fences.append(lease.fence)

    thread = threading.Thread(target=other)
    with pytest.raises(LeaseLost, match="somebody said so"), lock as lease:
        thread.start()
        memory.until(waiting(lock, 1))
        lease.lost.end("somebody said so")
    thread.join(20)
    assert fences == [11]
    assert_free(lock, store)


def test_an_heir_whose_loop_is_closed() -> None:
    """Its lease is given back by one who wants the lock, as if it were the first of its grant."""
    store = store_of(10)
    lock = DistributedLock("orders", Memory(store, blocking=False))

    async def main() -> Lease:
        async with lock:
            heir = asyncio.create_task(lock.acquire())
            await until(waiting(lock, 1))
        return await heir

    lease = asyncio.run(main())
    assert lease.fence == 2

    async def another() -> int:
        async with lock as lease:
            return lease.fence

    assert asyncio.run(another()) == 11
    assert lease.lost.is_set()
    assert_free(lock, store)
