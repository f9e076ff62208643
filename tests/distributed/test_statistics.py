"""`statistics()`: what a distributed lock counts, and that nothing is counted twice."""

from __future__ import annotations

import threading
from math import inf

import anyio
import pytest

from backofflock import (
    AcquireTimeout,
    Constant,
    DistributedLock,
    LeaseLost,
    LeaseStatistics,
    ThreadDistributedLock,
)

from . import memory
from .hosts import on_each_host, run, until
from .memory import AsyncMemory, Memory

NOTHING = LeaseStatistics(
    locked=False,
    tasks_waiting=0,
    acquired=0,
    contended=0,
    attempts=0,
    handed_over=0,
    unanswered=0,
    lost=0,
    timeouts=0,
    cancellations=0,
    total_wait=0.0,
    longest_wait=0.0,
)


def counted(lock: DistributedLock | ThreadDistributedLock) -> dict[str, float]:
    """Return what is not as it was at first, but for the times."""
    statistics = lock.statistics()
    return {
        name: getattr(statistics, name)
        for name in NOTHING.__slots__
        if getattr(statistics, name) != getattr(NOTHING, name) and not name.endswith("_wait")
    }


def made(backend: AsyncMemory) -> DistributedLock:
    return DistributedLock("orders", backend, schedule=Constant(0.005))


@on_each_host
def test_a_new_lock_and_one_that_was_free(host: str) -> None:
    async def main() -> None:
        lock = made(AsyncMemory())
        assert lock.statistics() == NOTHING
        async with lock:
            assert counted(lock) == {"locked": True, "acquired": 1, "attempts": 1}
        assert counted(lock) == {"acquired": 1, "attempts": 1}
        assert lock.statistics().total_wait == 0.0

    run(host, main)


@on_each_host
def test_waits_for_others_of_the_process_and_of_other_ones(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)

        async def take() -> None:
            async with lock:
                pass

        async with anyio.create_task_group() as group, lock:
            group.start_soon(take)
            group.start_soon(take)
            await until(lambda: lock.statistics().tasks_waiting == 2)
            await anyio.sleep(0.02)
        assert counted(lock) == {"acquired": 3, "contended": 2, "attempts": 3}
        assert lock.statistics().longest_wait >= 0.02
        assert lock.statistics().total_wait >= 0.04

        backend.store.give("orders", ttl=0.02)
        await take()
        statistics = lock.statistics()
        assert (statistics.acquired, statistics.contended) == (4, 3)
        assert statistics.attempts == backend.store.requests["try_acquire"]

    run(host, main)


@on_each_host
def test_failures(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)
        backend.store.give("orders")
        with pytest.raises(AcquireTimeout):
            await lock.acquire(max_attempts=3)
        assert counted(lock) == {"timeouts": 1, "attempts": 3}
        backend.trouble("try_acquire", before=inf, times=1)
        with anyio.move_on_after(0.02):
            await lock.acquire()
        assert backend.store.requests["try_acquire"] == 3, "the server has not heard of the fourth"
        assert counted(lock) == {"timeouts": 1, "cancellations": 1, "attempts": 4}
        backend.store.delete("orders")

        lock = made(backend)
        backend.trouble("try_acquire", unavailable="lost", times=2)
        backend.trouble("release", unavailable="once", times=3)
        async with lock:
            pass
        assert counted(lock) == {"acquired": 1, "contended": 1, "attempts": 3, "unanswered": 5}

        lock = made(backend)
        with pytest.raises(LeaseLost):
            async with lock:
                backend.store.delete("orders")
        assert counted(lock) == {"acquired": 1, "attempts": 1, "lost": 1}

    run(host, main)


@on_each_host
def test_behind_the_gate(host: str) -> None:
    async def main() -> None:
        lock = made(AsyncMemory())

        async def give_up() -> None:
            with pytest.raises(AcquireTimeout):
                await lock.acquire(timeout=0.01)

        async with lock:
            async with anyio.create_task_group() as group:
                group.start_soon(give_up)
                group.start_soon(lock.acquire)
                await until(lambda: lock.statistics().timeouts == 1)
                group.cancel_scope.cancel()
            assert counted(lock) == {
                "locked": True,
                "acquired": 1,
                "attempts": 1,
                "timeouts": 1,
                "cancellations": 1,
            }

    run(host, main)


def test_in_threads() -> None:
    backend = Memory()
    lock = ThreadDistributedLock("orders", backend, schedule=Constant(0.005))
    with lock:
        assert counted(lock) == {"locked": True, "acquired": 1, "attempts": 1}

        def take() -> None:
            with lock:
                pass

        thread = threading.Thread(target=take)
        thread.start()
        memory.until(lambda: lock.statistics().tasks_waiting == 1)
    thread.join(20)
    assert counted(lock) == {"acquired": 2, "contended": 1, "attempts": 2}
    backend.store.give("orders")
    with pytest.raises(AcquireTimeout):
        lock.acquire(max_attempts=2)
    backend.store.delete("orders")
    backend.trouble("try_acquire", refused=True, times=1)
    with pytest.raises(Exception, match="refused"):
        lock.acquire()
    backend.trouble("try_acquire", unavailable="once", times=1)
    backend.trouble("release", unavailable="lost", times=1)
    with pytest.raises(LeaseLost), lock:
        with lock._gate.backend.store.mutex:
            del backend.store.holders["orders"]
        backend.cure()
    statistics = lock.statistics()
    assert (statistics.timeouts, statistics.cancellations, statistics.lost) == (1, 1, 1)
    assert statistics.unanswered == 1
    assert statistics.attempts == 2 + 2 + 1 + 2


def test_locked_and_waiting_are_of_all_of_one_name() -> None:
    backend = Memory()
    first, second = (ThreadDistributedLock("orders", backend) for _ in range(2))
    with first:
        assert second.statistics().locked
        assert second.locked()
        assert second.lease is first.lease
        assert second.statistics().acquired == 0
    backend.trouble("try_acquire", before=inf)
    thread = threading.Thread(target=first.acquire)
    thread.start()
    memory.until(lambda: backend.under_way["try_acquire"])
    assert second.statistics().locked, "one of it is asking"
    assert not second.locked()
    backend.cure()
    thread.join(20)
    first.release()
