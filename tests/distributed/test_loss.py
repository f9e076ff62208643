"""Risk: a lease is lost, and the body goes on, or the error is another than `LeaseLost`."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from math import inf

import anyio
import anyio.lowlevel
import pytest
import trio

from backofflock import DistributedLock, LeaseLost
from backofflock.errors import BackendUnavailable
from backofflock.leases import Lease

from .hosts import on_each_host, run, until
from .memory import AsyncMemory, Memory

TTL = 0.3


def made(backend: AsyncMemory | Memory | None = None, ttl: float = TTL) -> DistributedLock:
    return DistributedLock("orders", AsyncMemory() if backend is None else backend, ttl=ttl)


def assert_left(lock: DistributedLock, backend: AsyncMemory | Memory) -> None:
    assert not lock.locked()
    assert not lock.statistics().locked
    assert not backend.store.unreleased()


@on_each_host
def test_a_deleted_key_cancels_the_body_within_a_renewal(host: str) -> None:
    async def main() -> None:
        backend, ttl = AsyncMemory(), 1.0
        lock = made(backend, ttl)
        ended: list[str] = []
        with pytest.raises(LeaseLost, match="another has it, or its key was deleted") as raised:
            async with lock as lease:
                backend.store.delete("orders")
                began = time.monotonic()
                try:
                    await anyio.sleep(20.0)
                finally:
                    ended.append("cancelled")
                    assert time.monotonic() - began < ttl
                    assert lease.lost.is_set()
        assert ended == ["cancelled"]
        assert raised.value.fence == 1
        assert_left(lock, backend)
        assert lock.statistics().lost == 1
        async with lock as lease:  # and it can be had again
            assert lease.fence == 2

    run(host, main)


@on_each_host
def test_a_server_that_is_gone_costs_the_lease_at_its_deadline(host: str) -> None:
    async def main() -> None:
        for trouble in ({"unavailable": "once"}, {"before": inf}):
            backend = AsyncMemory()
            lock = made(backend, ttl=1.0)
            with pytest.raises(LeaseLost, match="could not be renewed in time") as raised:
                async with lock:
                    began = time.monotonic()
                    for call in ("renew", "release"):
                        backend.trouble(call, **trouble)
                    try:
                        await anyio.sleep(20.0)
                    finally:
                        assert 0.99 < time.monotonic() - began < 10.0
            assert isinstance(raised.value.__cause__, BackendUnavailable)
            assert not lock.locked()

    run(host, main)


@on_each_host
def test_without_renewals_it_ends_at_its_deadline(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, ttl=0.1, renewal=False)
        with pytest.raises(LeaseLost):
            async with lock:
                await anyio.sleep(20.0)
        assert backend.store.requests["renew"] == 0
        assert_left(lock, backend)

    run(host, main)


@on_each_host
def test_a_loop_that_stood_still_for_longer_than_the_lease(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend, ttl=0.1)
        with pytest.raises(LeaseLost, match="could not be renewed in time"):
            async with lock as lease:
                time.sleep(0.15)  # noqa: ASYNC251
                with pytest.raises(LeaseLost):
                    lease.ensure_held()
        assert_left(lock, backend)

    run(host, main)


@on_each_host
def test_a_key_deleted_just_before_the_release(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)
        with pytest.raises(LeaseLost, match="another has it"):
            async with lock:
                backend.store.delete("orders")
        await lock.acquire()
        backend.store.delete("orders")
        with pytest.raises(LeaseLost, match="another has it"):
            await lock.release()
        assert_left(lock, backend)
        assert lock.statistics().lost == 2

    run(host, main)


@on_each_host
def test_a_release_that_was_carried_out_and_not_answered_is_no_loss(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)
        backend.trouble("release", unavailable="lost", times=1)
        async with lock:
            pass
        assert lock.statistics().lost == 0
        assert lock.statistics().unanswered == 1

    run(host, main)


@on_each_host
def test_what_the_body_raises_is_kept(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)
        with pytest.raises(LookupError):
            async with lock:
                raise LookupError("mine")
        with pytest.raises(LeaseLost) as raised:
            async with lock:
                backend.store.delete("orders")
                try:
                    await anyio.sleep(20.0)
                finally:
                    raise LookupError("mine")
        assert isinstance(raised.value.__cause__, LookupError)
        for error in (KeyboardInterrupt, SystemExit, GeneratorExit):
            with pytest.raises(error):
                async with lock:
                    backend.store.delete("orders")
                    raise error
        assert_left(lock, backend)

    run(host, main)


@on_each_host
def test_a_body_with_tasks_of_its_own(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)
        with pytest.raises(LeaseLost):
            async with lock:
                backend.store.delete("orders")
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep, 20.0)
        assert_left(lock, backend)

    run(host, main)


@on_each_host
def test_a_body_whose_tasks_fail_as_they_are_cancelled(host: str) -> None:
    async def main() -> None:
        async def fails() -> None:
            try:
                await anyio.sleep(20.0)
            finally:
                raise LookupError("mine")

        backend = AsyncMemory()
        lock = made(backend)
        with pytest.raises(LeaseLost) as raised:
            async with lock:
                backend.store.delete("orders")
                async with anyio.create_task_group() as group:
                    group.start_soon(fails)
                    group.start_soon(anyio.sleep, 20.0)
        cause = raised.value.__cause__
        assert isinstance(cause, ExceptionGroup)
        assert [type(error) for error in cause.exceptions] == [LookupError]
        assert_left(lock, backend)

    run(host, main)


def test_an_asyncio_task_group_in_the_body() -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(LeaseLost):
            async with lock:
                backend.store.delete("orders")
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(20.0))
        assert task.cancelling() == 0
        assert_left(lock, backend)

    run("asyncio", main)


def test_the_body_may_tidy_up_after_the_loss() -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)
        tidied: list[str] = []
        with pytest.raises(LeaseLost):
            async with lock:
                backend.store.delete("orders")
                try:
                    await asyncio.sleep(20.0)
                finally:
                    await asyncio.sleep(0.01)  # code for asyncio knows of one cancel, not of many
                    tidied.append("up")
        assert tidied == ["up"]

    run("asyncio", main)


def test_a_body_that_swallows_its_cancel_raises_the_loss_at_its_end() -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(LeaseLost):
            async with lock:
                backend.store.delete("orders")
                try:
                    await asyncio.sleep(20.0)
                except asyncio.CancelledError:
                    pass
        assert task.cancelling() == 0
        assert_left(lock, backend)

    run("asyncio", main)


def test_a_cancel_from_outside_goes_before_the_loss() -> None:
    async def main() -> None:
        for outside_first in (True, False):
            backend = AsyncMemory()
            lock = made(backend, ttl=60.0)
            entered = asyncio.Event()

            async def hold(lock: DistributedLock = lock, entered: asyncio.Event = entered) -> None:
                async with lock:
                    entered.set()
                    await asyncio.sleep(20.0)

            task = asyncio.create_task(hold())
            await entered.wait()
            assert lock._holding is not None
            if outside_first:
                task.cancel()
            assert lock._holding.lease.lost.end("the key was deleted")
            lock._holding.on_loss()
            if not outside_first:
                task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert task.cancelling() == 1
            assert_left(lock, backend)

    run("asyncio", main)


def test_timeouts_around_and_inside() -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), lock:
                await asyncio.sleep(20.0)
        with pytest.raises(LeaseLost):
            async with asyncio.timeout(10.0), lock:
                backend.store.delete("orders")
                async with asyncio.timeout(10.0):
                    await asyncio.sleep(20.0)
        async with lock:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(20.0)
        assert task.cancelling() == 0
        assert_left(lock, backend)

    run("asyncio", main)


@on_each_host
def test_scopes_around_and_inside(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)
        with anyio.move_on_after(0.02) as scope:
            async with lock:
                await anyio.sleep(20.0)
        assert scope.cancelled_caught
        with anyio.move_on_after(10.0) as scope, pytest.raises(LeaseLost):
            async with lock:
                backend.store.delete("orders")
                with anyio.move_on_after(10.0) as inner:
                    await anyio.sleep(20.0)
        assert not scope.cancelled_caught
        assert not inner.cancelled_caught
        await anyio.lowlevel.checkpoint()  # nothing of a cancel is left over
        assert_left(lock, backend)

    run(host, main)


@on_each_host
def test_a_shielded_body_ends_first(host: str) -> None:
    async def main() -> None:
        if host == "asyncio":
            return  # where only a task of its own is out of a cancel's reach
        backend = AsyncMemory()
        lock = made(backend, ttl=0.1)
        done: list[int] = []
        with pytest.raises(LeaseLost):
            async with lock:
                backend.store.delete("orders")
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.2)
                    done.append(1)
        assert done == [1]

    run(host, main)


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
        lock = made(backend, ttl=30.0)
        for closing in ("next", "close"):
            fixture = lending(lock)
            lease = await asyncio.create_task(enter(fixture))
            lease.ensure_held()
            if closing == "next":
                with pytest.raises(StopAsyncIteration):
                    await asyncio.create_task(enter(fixture))
            else:
                await asyncio.create_task(leave(fixture))
            assert_left(lock, backend)

    run("asyncio", main)


def test_a_generator_that_is_left_early() -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend, ttl=30.0)
        async for lease in lending(lock):
            lease.ensure_held()
            break
        gc.collect()
        await until(lambda: not lock.locked())  # the loop closes it, in a task of its own
        assert_left(lock, backend)

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


@on_each_host
def test_an_exit_stack_of_two_locks_one_of_which_is_lost(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        outer, inner = (DistributedLock(name, backend, ttl=TTL) for name in ("outer", "inner"))
        for lost in ("outer", "inner"):
            with pytest.raises(LeaseLost) as raised:
                async with AsyncExitStack() as stack:
                    await stack.enter_async_context(outer)
                    await stack.enter_async_context(inner)
                    backend.store.delete(lost)
                    await anyio.sleep(20.0)
            assert raised.value.lock == lost
            assert not backend.store.unreleased()
            assert not outer.locked()
            assert not inner.locked()

    run(host, main)


@on_each_host
def test_both_of_two_nested_are_lost(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        outer, inner = (DistributedLock(name, backend, ttl=TTL) for name in ("outer", "inner"))
        with pytest.raises(LeaseLost):
            async with outer, inner:
                backend.store.delete("outer")
                backend.store.delete("inner")
                await anyio.sleep(20.0)
        assert not backend.store.unreleased()
        if host == "asyncio":
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    run(host, main)


# -- nobody is left to release ---------------------------------------------------------------------


@pytest.mark.parametrize("host", ["asyncio", "trio"])
def test_a_run_that_ended_while_the_lock_was_held(host: str) -> None:
    backend = AsyncMemory()
    lock = made(backend)

    async def forget() -> None:
        await lock.acquire()

    async def take() -> int:
        async with lock as lease:
            return lease.fence

    run(host, forget)
    assert lock.locked()
    assert run(host, take) == 2  # once the lease is over
    assert_left(lock, AsyncMemory())


def test_a_loop_that_was_closed_in_the_body() -> None:
    backend = AsyncMemory()
    lock = made(backend, ttl=1.5)
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
    lock = made(backend)
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


def test_on_trio_the_gate_stays_shut_until_the_release_is_answered() -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend, ttl=30.0)
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


@on_each_host
def test_after_a_loss_the_next_of_the_process_waits_for_the_body(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = made(backend)
        inside: list[str] = []

        async def loses() -> None:
            with pytest.raises(LeaseLost):
                async with lock:
                    inside.append("first")
                    backend.store.delete("orders")
                    try:
                        await anyio.sleep(20.0)
                    finally:
                        with anyio.CancelScope(shield=True):
                            await anyio.sleep(0.1)
                        inside.remove("first")

        async def follows() -> None:
            async with lock:
                assert inside == []

        async with anyio.create_task_group() as group:
            group.start_soon(loses)
            await until(lambda: inside)
            group.start_soon(follows)

    run(host, main)
