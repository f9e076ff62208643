"""Risk: a lock that is left elsewhere than it was entered, or by nobody, stays taken."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Iterator
from math import inf
from typing import Any

import pytest
import trio

from backofflock import DistributedLock, LeaseLost, ThreadDistributedLock
from backofflock._hosts import ThreadWaiter
from backofflock.leases import Lease

from .hosts import on_each_host, run, until
from .memory import AsyncMemory, Memory, assert_free


@pytest.fixture
def collecting_is_quick() -> Iterator[None]:
    """Have the collector leave alone what other tests made: to look through it may take seconds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# -- entering here and leaving there ---------------------------------------------------------------


async def lending(lock: DistributedLock) -> AsyncGenerator[Lease, None]:
    """What an async fixture is."""
    async with lock as lease:
        yield lease


async def enter(fixture: AsyncGenerator[Lease, None]) -> Lease:
    return await anext(fixture)


async def leave(fixture: AsyncGenerator[Lease, None]) -> None:
    await fixture.aclose()


def test_entered_in_one_task_and_left_in_another() -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        for closing in ("next", "close"):
            fixture = lending(lock)
            lease = await asyncio.create_task(enter(fixture))
            lease.ensure_held()
            if closing == "next":
                with pytest.raises(StopAsyncIteration):
                    await asyncio.create_task(enter(fixture))
            else:
                await asyncio.create_task(leave(fixture))
            assert_free(lock, backend)

    run("asyncio", main)


def test_a_generator_that_is_left_early() -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        async for lease in lending(lock):
            lease.ensure_held()
            break
        gc.collect()
        await until(lambda: not lock.locked())  # the loop closes it, in a task of its own
        assert_free(lock, backend)

    run("asyncio", main)


def test_left_in_the_order_of_entering() -> None:
    # Hand over hand, as through a chain of nodes.
    async def main() -> None:
        backend = AsyncMemory()
        first, second = (DistributedLock(name, backend) for name in ("first", "second"))
        await first.__aenter__()
        await second.__aenter__()
        await first.__aexit__(None, None, None)
        assert second.locked()
        await second.__aexit__(None, None, None)
        assert not backend.store.unreleased()

    run("asyncio", main)


# -- nobody is left to release ---------------------------------------------------------------------


@on_each_host
def test_a_run_that_ended_while_the_lock_was_held(host: str) -> None:
    backend = AsyncMemory()
    lock = DistributedLock("orders", backend, ttl=1.0)

    async def forget() -> None:
        await lock.acquire()

    async def take() -> int:
        async with lock as lease:
            return lease.fence

    run(host, forget)
    assert lock.locked()
    assert run(host, take) == 2  # once the lease is over
    assert not lock.locked()
    assert not lock.statistics().locked


@pytest.mark.usefixtures("collecting_is_quick")
def test_a_loop_that_was_closed_in_the_body() -> None:
    backend = AsyncMemory()
    lock = DistributedLock("orders", backend, ttl=1.5)
    loop = asyncio.new_event_loop()

    async def forget() -> None:
        async with lock:
            await asyncio.sleep(60.0)

    tasks = [loop.create_task(forget())]
    loop.run_until_complete(until(lambda: lock.lease))
    tasks[0].get_loop().set_exception_handler(lambda _loop, _context: None)
    loop.close()

    async def take() -> None:
        async with lock as lease:
            tasks.clear()
            gc.collect()  # it may strike at any time, so also here
            lease.ensure_held()
            assert lock.locked()
            assert backend.store.holder("orders") == lease.token

    run("asyncio", take)
    assert backend.store.holder("orders") is None
    assert not lock.locked()


def test_a_lease_without_end_of_a_loop_that_was_closed() -> None:
    backend = Memory(blocking=False)
    backend.store.granted_ttl = inf
    lock = DistributedLock("orders", backend)
    leases: list[Lease] = []

    async def forget() -> None:
        leases.append(await lock.acquire())

    async def take() -> int:
        async with lock as lease:
            return lease.fence

    asyncio.run(forget())
    assert run("asyncio", take) == 2
    with pytest.raises(LeaseLost):
        leases[0].ensure_held()


async def asking(lock: DistributedLock, backend: AsyncMemory) -> None:
    backend.trouble("try_acquire", after=inf, times=1)  # carried out, and nobody hears of it
    await lock.acquire()


async def napping(lock: DistributedLock, backend: AsyncMemory) -> None:
    backend.store.give("orders", ttl=0.2)
    await lock.acquire()


async def giving_back(lock: DistributedLock, backend: AsyncMemory) -> None:
    backend.store.give("orders", ttl=0.2)
    task = asyncio.create_task(lock.acquire())
    await until(lambda: backend.store.requests["try_acquire"])
    backend.trouble("release", before=inf, times=1)
    task.cancel()
    await task


async def giving_back_what_was_left(lock: DistributedLock, backend: AsyncMemory) -> None:
    another = DistributedLock("orders", backend, ttl=0.9)  # it can make no use of the lease
    await lock.acquire()
    heir = asyncio.create_task(another.acquire())
    await until(lambda: lock._gate._queue)
    backend.trouble("release", before=inf, times=1)
    await lock.release()
    await heir


async def releasing(lock: DistributedLock, backend: AsyncMemory) -> None:
    await lock.acquire()
    backend.trouble("release", before=inf, times=1)
    await lock.release()


@pytest.mark.usefixtures("collecting_is_quick")
@pytest.mark.parametrize(
    "doing", [asking, napping, giving_back, giving_back_what_was_left, releasing]
)
def test_a_loop_that_was_closed_before_and_after_the_lock_was_held(doing: Any) -> None:
    backend = AsyncMemory()
    backend.store.block = 8
    lock = DistributedLock("orders", backend, ttl=1.0)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    tasks = [loop.create_task(doing(lock, backend))]
    loop.run_until_complete(asyncio.wait(tasks, timeout=0.15))
    assert lock._gate.ticket is not None
    loop.close()
    tasks.clear()

    async def take() -> None:
        async with lock as lease:
            gc.collect()
            lease.ensure_held()
            assert backend.store.holder("orders") == lease.token

    run("asyncio", take)  # once what it may have had is over
    thread_lock = ThreadDistributedLock("orders", Memory(backend.store))
    with thread_lock as lease:
        lease.ensure_held()
    assert not lock.locked()


def test_a_loop_that_was_closed_as_it_asked_where_nobody_waits() -> None:
    backend = Memory(blocking=False)
    backend.store.granted_ttl = inf
    backend.store.give("orders")
    lock = DistributedLock("orders", backend)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    task = loop.create_task(lock.acquire())
    loop.run_until_complete(asyncio.wait([task], timeout=0.1))
    asked = backend.store.asked.copy()
    loop.close()
    backend.store.holders["orders"] = next(iter(asked)), inf  # its last request got the lock

    async def take() -> None:
        async with lock as lease:
            lease.ensure_held()

    run("asyncio", take)
    assert asked <= set(backend.store.released)


def test_of_two_that_find_a_lease_without_a_loop_one_releases_it_and_none_the_next() -> None:
    backend = Memory(blocking=False)
    backend.store.granted_ttl = inf
    lock, next_lock = DistributedLock("orders", backend), ThreadDistributedLock("orders", backend)
    leases: list[Lease] = []

    async def forget() -> None:
        leases.append(await lock.acquire())

    asyncio.run(forget())
    gate, waiter = lock._gate, ThreadWaiter(0.0)
    is_gone = gate.is_orphan

    def meanwhile() -> bool:
        gate.is_orphan = is_gone
        gate._look_for_orphans(waiter, 0.0)
        leases.append(next_lock.acquire())
        return True

    gate.is_orphan = meanwhile
    gate._look_for_orphans(waiter, 0.0)
    assert backend.store.holder("orders") == leases[1].token != leases[0].token
    leases[1].ensure_held()
    next_lock.release()


def test_on_trio_the_gate_stays_shut_until_the_release_is_answered() -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        inside: list[int] = []

        async def enter() -> None:
            async with lock:
                inside.append(1)
                assert len(inside) == 1
                assert not backend.under_way.total()
                await trio.sleep(0.01)
                inside.pop()
                backend.trouble("release", before=0.1, times=1)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(enter)
        assert backend.store.requests == {"try_acquire": 4, "release": 4}

    run("trio", main)
