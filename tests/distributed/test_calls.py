"""How tasks call a backend: natively, in worker threads, or as it is."""

from __future__ import annotations

import asyncio
import threading
import time
from math import inf

import anyio
import pytest

from backofflock.distributed import DistributedLock
from backofflock.distributed._calls import AsItIs, InWorkerThreads, calls_in_tasks, is_async
from backofflock.errors import BackendUnavailable
from backofflock.leases import AsyncBackend, Grant

from . import memory
from .hosts import on_each_host, run, until
from .memory import AsyncMemory, Memory, NativeMemory


def test_which_way_a_backend_is_called() -> None:
    native = AsyncMemory()
    assert calls_in_tasks(native, "asyncio") is native
    assert isinstance(calls_in_tasks(Memory(), "trio"), InWorkerThreads)
    assert isinstance(calls_in_tasks(Memory(blocking=False), "trio"), AsItIs)
    both = NativeMemory(hosts=("asyncio",))
    assert calls_in_tasks(both, "asyncio") is both.client
    assert isinstance(calls_in_tasks(both, "trio"), InWorkerThreads)


def test_is_async() -> None:
    assert is_async(AsyncMemory())
    assert not is_async(Memory())
    assert not is_async(object())


@on_each_host
@pytest.mark.parametrize(
    "make", [Memory, AsyncMemory, lambda: Memory(blocking=False), NativeMemory]
)
def test_all_ways_answer_alike(host: str, make: type[Memory]) -> None:
    async def main() -> None:
        backend = make()
        calls = calls_in_tasks(backend, host)
        assert await calls.try_acquire("orders", "a token", 30.0) == Grant(1, 30.0)
        assert await calls.renew("orders", "a token", 30.0)
        assert await calls.release("orders", "a token")
        assert not await calls.release("orders", "a token")
        backend.trouble("renew", error=LookupError("a bug"))
        with pytest.raises(LookupError):
            await calls.renew("orders", "a token", 30.0)

    run(host, main)


def test_a_backend_that_never_waits_is_called_in_the_loop_itself() -> None:
    threads: list[int] = []

    class Here(Memory):
        def release(self, name: str, token: str) -> bool:
            threads.append(threading.get_ident())
            return super().release(name, token)

    async def main() -> None:
        for blocking in (True, False):
            async with DistributedLock("orders", Here(blocking=blocking)):
                pass

    run("asyncio", main)
    assert threads[0] != threading.get_ident()
    assert threads[1] == threading.get_ident()


@on_each_host
def test_the_loop_goes_on_while_a_blocking_backend_hangs(host: str) -> None:
    async def main() -> None:
        backend = Memory()
        backend.trouble("try_acquire", before=inf)
        calls = calls_in_tasks(backend, host)
        with anyio.move_on_after(0.05) as scope:
            await calls.try_acquire("orders", "a token", 30.0)
        assert scope.cancelled_caught
        backend.cure()
        await until(lambda: backend.under_way.total() == 0)

    run(host, main)


@on_each_host
def test_a_hung_call_holds_up_no_other_lock(host: str) -> None:
    async def main() -> None:
        backend = Memory()
        backend.trouble("try_acquire", before=inf, times=60)  # more than a shared limiter's 40
        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(DistributedLock(f"hung {number}", backend).acquire)
            await until(lambda: backend.under_way["try_acquire"] == 60)
            began = time.monotonic()
            async with DistributedLock("orders", backend):
                pass
            assert time.monotonic() - began < 5.0
            backend.cure()

    run(host, main)


async def abandon_a_try(backend: Memory, calls: AsyncBackend) -> None:
    """Give up a request that has reached the client in its thread."""
    async with anyio.create_task_group() as group:
        group.start_soon(calls.try_acquire, "orders", "a token", 30.0)
        await until(lambda: backend.under_way["try_acquire"])
        group.cancel_scope.cancel()
    assert backend.under_way["try_acquire"] == 1


@on_each_host
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_release_overtakes_a_call_that_hangs(host: str, where: str) -> None:
    async def main() -> None:
        backend = Memory()
        late = {"before": (inf, 0.0), "after": (0.0, inf)}[where]
        backend.trouble("try_acquire", before=late[0], after=late[1])
        calls = calls_in_tasks(backend, host)
        await abandon_a_try(backend, calls)
        if where == "after":
            await until(lambda: backend.store.holder("orders"))
        assert await calls.release("orders", "a token") is (where == "after")
        backend.cure()
        await until(lambda: backend.under_way.total() == 0)
        assert backend.store.holder("orders") is None  # nor does it get it now
        assert backend.store.requests == {"try_acquire": 1, "release": 1}

    run(host, main)


@on_each_host
def test_while_a_call_hangs_no_other_is_sent_for_its_token(host: str) -> None:
    async def main() -> None:
        backend = Memory()
        hung = backend.trouble("try_acquire", before=inf, times=1)
        calls = calls_in_tasks(backend, host)
        await abandon_a_try(backend, calls)
        for again in (calls.try_acquire, calls.renew):
            with pytest.raises(BackendUnavailable, match="an earlier request is still under way"):
                await again("orders", "a token", 30.0)
        assert await calls.try_acquire("bills", "another token", 30.0) == Grant(1, 30.0)
        hung.let_go.set()
        await until(lambda: backend.under_way.total() == 0)
        assert await calls.try_acquire("orders", "a token", 30.0) == Grant(1, 30.0)

    run(host, main)


@on_each_host
def test_one_that_is_cancelled_before_it_is_sent_is_not_under_way(host: str) -> None:
    async def main() -> None:
        calls = calls_in_tasks(Memory(), host)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await calls.try_acquire("orders", "a token", 30.0)
        assert await calls.try_acquire("orders", "a token", 30.0) == Grant(1, 30.0)

    run(host, main)


def test_a_hung_server_costs_one_thread_a_token() -> None:
    async def main() -> None:
        backend = Memory()
        backend.trouble("try_acquire", before=inf)
        lock = DistributedLock("orders", backend, request_timeout=0.02)
        before = threading.active_count()
        task = asyncio.create_task(lock.acquire())
        await until(lambda: lock.statistics().locked)
        await asyncio.sleep(1.0)  # tries enough
        assert threading.active_count() - before <= 3
        backend.cure()
        await task
        await lock.release()

    run("asyncio", main)


def test_nothing_is_left_of_tokens_that_were_released() -> None:
    async def main() -> None:
        backend = Memory()
        calls = InWorkerThreads(backend)
        backend.trouble("renew", error=LookupError("a bug"))
        for number in range(50):
            await calls.try_acquire("orders", f"token {number}", 30.0)
            with pytest.raises(LookupError):
                await calls.renew("orders", f"token {number}", 30.0)
            await calls.release("orders", f"token {number}")
        assert not calls._under_way

    run("asyncio", main)


def test_a_loop_that_is_closed_before_the_answer_comes() -> None:
    backend = Memory()
    backend.trouble("try_acquire", after=inf)

    async def main() -> None:
        with anyio.move_on_after(0.01):
            await calls_in_tasks(backend, "asyncio").try_acquire("orders", "a token", 30.0)

    asyncio.run(main())
    backend.cure()
    memory.until(lambda: backend.under_way.total() == 0)
