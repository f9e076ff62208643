"""Risk: a cancel leaves the lock taken, wherever it strikes and however often it comes again.

The client of these tests has a checkpoint on the way to the server and one on the way back, so that
a cancel after k rounds of the loop meets every state of a request.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from backofflock import AcquireTimeout, Constant, DistributedLock
from backofflock.leases import Lease

from .hosts import on_each_host, run, unhandled, until
from .memory import AsyncMemory, Memory, assert_free

ROUNDS = range(14)


def lock_over(backend: AsyncMemory) -> DistributedLock:
    return DistributedLock("orders", backend, schedule=Constant(0.0))


async def hold(lock: DistributedLock) -> None:
    async with lock:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()


async def acquire_and_release(lock: DistributedLock) -> None:
    await lock.acquire()
    await lock.release()


@asynccontextmanager
async def free(lock: DistributedLock, backend: AsyncMemory) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def held_here(lock: DistributedLock, backend: AsyncMemory) -> AsyncIterator[None]:
    """The waiter stands behind the gate for the first rounds."""
    async with anyio.create_task_group() as group:
        entered = anyio.Event()

        async def holder() -> None:
            async with lock:
                entered.set()
                for _ in range(4):
                    await anyio.lowlevel.checkpoint()

        group.start_soon(holder)
        await entered.wait()
        yield


@asynccontextmanager
async def held_elsewhere(lock: DistributedLock, backend: AsyncMemory) -> AsyncIterator[None]:
    """The waiter backs off, for a request or two."""
    backend.store.give("orders")
    async with anyio.create_task_group() as group:

        async def leave() -> None:
            for _ in range(4):
                await anyio.lowlevel.checkpoint()
            backend.store.delete("orders")

        group.start_soon(leave)
        yield


@asynccontextmanager
async def answers_are_lost(lock: DistributedLock, backend: AsyncMemory) -> AsyncIterator[None]:
    """Each call is carried out, and the first of its kind not answered."""
    backend.trouble("try_acquire", unavailable="lost", times=1)
    backend.trouble("release", unavailable="lost", times=1)
    yield


SITUATIONS = pytest.mark.parametrize(
    "situation", [free, held_here, held_elsewhere, answers_are_lost]
)
USES = pytest.mark.parametrize("use", [hold, acquire_and_release])

Situation = Callable[[DistributedLock, AsyncMemory], Any]
Use = Callable[[DistributedLock], Coroutine[Any, Any, None]]


@USES
@SITUATIONS
def test_native_cancels_at_every_step_once_and_again(situation: Situation, use: Use) -> None:
    async def main() -> None:
        outcomes = set()
        for first, again in itertools.product(ROUNDS, (None, *range(8))):
            backend = AsyncMemory()
            lock = lock_over(backend)
            async with situation(lock, backend):
                task = asyncio.create_task(use(lock))
                for _ in range(first):
                    await asyncio.sleep(0)
                cancels = int(task.cancel())
                if again is not None:
                    for _ in range(again):
                        await asyncio.sleep(0)
                    cancels += task.cancel()
                await asyncio.wait([task])
                outcomes.add(task.cancelled())
                if task.cancelled():
                    assert task.cancelling() == cancels
                else:
                    assert task.exception() is None
                    assert cancels == 0, "a cancel was swallowed"
            assert_free(lock, backend)
        assert True in outcomes
        assert False in outcomes or situation is not free, "too few steps to reach the end"

    with_all_tasks_accounted_for(main)


def with_all_tasks_accounted_for(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def accounted() -> None:
        with unhandled() as told:
            await main()
            for _ in range(3):
                await asyncio.sleep(0)
            assert len(asyncio.all_tasks()) == 1
        assert told == []

    run("asyncio", accounted)


@on_each_host
@USES
@SITUATIONS
def test_scopes_that_are_cancelled_at_every_step(host: str, situation: Situation, use: Use) -> None:
    async def main() -> None:
        caught = set()
        for rounds in ROUNDS:
            backend = AsyncMemory()
            lock = lock_over(backend)
            async with situation(lock, backend), anyio.create_task_group() as group:
                scope = anyio.CancelScope()

                async def user(
                    scope: anyio.CancelScope = scope, lock: DistributedLock = lock
                ) -> None:
                    with scope:
                        await use(lock)

                group.start_soon(user)
                for _ in range(rounds):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
            caught.add(scope.cancelled_caught)
            assert_free(lock, backend)
        assert True in caught

    run(host, main)


@SITUATIONS
def test_asyncio_timeouts_around_and_task_groups(situation: Situation) -> None:
    async def main() -> None:
        for rounds in ROUNDS:
            backend = AsyncMemory()
            lock = lock_over(backend)
            async with situation(lock, backend):
                loop = asyncio.get_running_loop()
                task = asyncio.current_task()
                assert task is not None
                try:
                    async with asyncio.timeout(None) as scope, asyncio.TaskGroup() as group:
                        group.create_task(hold(lock))
                        for _ in range(rounds):
                            await asyncio.sleep(0)
                        scope.reschedule(loop.time())
                        await asyncio.sleep(0)
                except TimeoutError:
                    assert scope.expired()
                assert task.cancelling() == 0
            assert_free(lock, backend)

    with_all_tasks_accounted_for(main)


@on_each_host
def test_while_the_answer_is_on_its_way(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = lock_over(backend)
        backend.trouble("try_acquire", after=inf)
        async with anyio.create_task_group() as group:
            group.start_soon(lock.acquire)
            await until(lambda: backend.store.holder("orders"))
            group.cancel_scope.cancel()
        assert_free(lock, backend)

    run(host, main)


@on_each_host
def test_a_blocking_backend_that_is_on_its_way(host: str) -> None:
    async def main() -> None:
        backend = Memory()
        lock = DistributedLock("orders", backend)
        backend.trouble("try_acquire", after=inf)
        async with anyio.create_task_group() as group:
            group.start_soon(lock.acquire)
            await until(lambda: backend.store.holder("orders"))
            began = anyio.current_time()
            group.cancel_scope.cancel()
        assert anyio.current_time() - began < 5.0  # bounded, though the request hangs
        assert not lock.locked()
        backend.cure()
        await until(lambda: not backend.store.unreleased())
        assert_free(lock, backend)

    run(host, main)


@on_each_host
def test_a_release_that_hangs_is_given_up_in_time(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, ttl=0.5, request_timeout=0.1)
        backend.trouble("release", before=inf)
        async with lock:
            pass
        assert not lock.locked()
        assert backend.store.holder("orders") is not None  # until the ttl is over
        backend.cure()
        async with lock:
            pass
        assert backend.store.holder("orders") is None

    run(host, main)
    assert any("it stays taken for up to 0.5 s" in message for message in caplog.messages)


@on_each_host
def test_cancelled_before_it_began(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = lock_over(backend)
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with lock:
                await anyio.lowlevel.checkpoint()
        assert_free(lock, backend)

    run(host, main)


def test_on_trio_to_take_a_free_lock_is_a_checkpoint() -> None:
    async def main() -> None:
        lock = DistributedLock("orders", Memory(blocking=False))  # which awaits nothing
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with lock:
                raise AssertionError("it was cancelled before")
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await anyio.lowlevel.checkpoint()
                turns += 1

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            for _ in range(100):
                await lock.acquire()
                await lock.release()
            group.cancel_scope.cancel()
        assert turns >= 98, "the other task had no turn each time"

    run("trio", main)


def test_asyncio_wait_for() -> None:
    # On 3.11 it makes a task of its own, which is over when the lock is released.
    async def main() -> None:
        backend = AsyncMemory()
        lock = lock_over(backend)
        lease = await asyncio.wait_for(lock.acquire(), 5.0)
        assert isinstance(lease, Lease)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.create_task(lock.acquire()), 0.01)
        await lock.release()
        assert_free(lock, backend)

    run("asyncio", main)


@on_each_host
def test_errors_and_limits_leave_nothing_either(host: str) -> None:
    async def main() -> None:
        def fail(_details: object) -> None:
            raise LookupError("mine")

        backend = AsyncMemory()
        backend.store.give("orders")
        with pytest.raises(LookupError):
            await DistributedLock("orders", backend, on_wait=fail).acquire()
        lock = lock_over(backend)
        with pytest.raises(AcquireTimeout):
            await lock.acquire(timeout=0.02)
        with pytest.raises(AcquireTimeout):
            await lock.acquire(max_attempts=3)
        backend.trouble("try_acquire", error=ZeroDivisionError("a bug"), times=1)
        with pytest.raises(ZeroDivisionError):
            await lock.acquire()
        backend.store.delete("orders")
        backend.trouble("try_acquire", unavailable="lost")
        with pytest.raises(AcquireTimeout):
            await lock.acquire(timeout=0.02)
        assert_free(lock, backend)

    run(host, main)


def test_the_end_of_asyncio_run_releases_what_is_held_and_asked_for() -> None:
    backends = [AsyncMemory() for _ in range(4)]
    locks = [DistributedLock("orders", backend) for backend in backends]
    backends[1].trouble("try_acquire", after=inf)
    backends[2].trouble("try_acquire", after=inf)
    backends[3].store.give("orders")
    kept: list[asyncio.Task[None]] = []

    async def body(lock: DistributedLock) -> None:
        async with lock:
            await asyncio.sleep(60.0)

    async def main() -> None:
        kept.extend(asyncio.create_task(body(lock)) for lock in locks)
        for backend in backends:
            await until(lambda: backend.store.holder("orders"))  # noqa: B023
        kept[2].cancel()  # in the middle of giving it back when all are cancelled
        backends[2].trouble("release", before=0.05, times=1)
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(main())
    backends[3].store.delete("orders")
    for lock, backend in zip(locks, backends, strict=True):
        assert_free(lock, backend)
