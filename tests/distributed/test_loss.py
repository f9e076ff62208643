"""Risk: a lease is lost, and the body goes on, or the error is another than `LeaseLost`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from math import inf

import anyio
import anyio.lowlevel
import pytest
import trio

from backofflock import AcquireTimeout, DistributedLock, LeaseLost
from backofflock.errors import BackendUnavailable

from .hosts import on_each_host, run, until
from .memory import AsyncMemory, assert_free

SOON = 0.3
"""A ttl of which the next renewal is not far: that is where a loss is found out."""


async def losing(body: Callable[[], Awaitable[object]]) -> LeaseLost:
    """Lose the lock before `body` runs in it; return what that raised."""
    backend = AsyncMemory()
    lock = DistributedLock("orders", backend, ttl=SOON)
    with pytest.raises(LeaseLost) as raised:
        async with lock:
            backend.store.delete("orders")
            await body()
    assert_free(lock, backend)
    return raised.value


async def asleep() -> None:
    """What a body does that waits to be cancelled."""
    await anyio.sleep(20.0)


async def failing() -> None:
    """What a body does that fails as it is cancelled."""
    try:
        await asleep()
    finally:
        raise LookupError("mine")


def assert_no_cancel_is_left() -> None:
    """Check that this task of asyncio was told of the end of each of its cancels."""
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@on_each_host
def test_a_deleted_key_cancels_the_body_within_a_renewal(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, ttl=3.0)
        known: list[bool] = []
        with pytest.raises(LeaseLost, match="another has it, or its key was deleted") as raised:
            async with lock as lease:
                backend.store.delete("orders")
                try:
                    await asleep()
                finally:
                    known.append(lease.lost.is_set())
        assert known == [True]
        assert backend.store.requests["renew"] == 1
        assert raised.value.fence == 1
        assert_free(lock, backend)
        assert lock.statistics().lost == 1
        async with lock as lease:  # and it can be had again
            assert lease.fence == 2

    run(host, main)


@on_each_host
def test_a_server_that_is_gone_costs_the_lease_at_its_deadline(host: str) -> None:
    async def main() -> None:
        for trouble in ({"unavailable": "once"}, {"before": inf}):
            backend = AsyncMemory()
            lock = DistributedLock("orders", backend, ttl=1.0)
            began = time.monotonic()  # a lease counts from when it was asked for
            with pytest.raises(LeaseLost, match="could not be renewed in time") as raised:
                async with lock:
                    for call in ("renew", "release"):
                        backend.trouble(call, **trouble)
                    try:
                        await asleep()
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
                await asleep()
        assert backend.store.requests["renew"] == 0
        assert_free(lock, backend)

    run(host, main)


@on_each_host
def test_a_loop_that_stood_still_for_longer_than_the_lease(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, ttl=0.1)
        with pytest.raises(LeaseLost, match="could not be renewed in time"):
            async with lock as lease:
                time.sleep(0.15)  # noqa: ASYNC251
                with pytest.raises(LeaseLost):
                    lease.ensure_held()
        assert_free(lock, backend)

    run(host, main)


@on_each_host
def test_a_key_deleted_just_before_the_release(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        with pytest.raises(LeaseLost, match="another has it"):
            async with lock:
                backend.store.delete("orders")
        await lock.acquire()
        backend.store.delete("orders")
        with pytest.raises(LeaseLost, match="another has it"):
            await lock.release()
        assert_free(lock, backend)
        assert lock.statistics().lost == 2

    run(host, main)


@on_each_host
def test_a_release_that_was_carried_out_and_not_answered_is_no_loss(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        backend.trouble("release", unavailable="lost", times=1)
        async with lock:
            pass
        assert lock.statistics().lost == 0
        assert lock.statistics().unanswered == 1

    run(host, main)


@on_each_host
def test_what_the_body_raises_is_kept(host: str) -> None:
    async def main() -> None:
        assert isinstance((await losing(failing)).__cause__, LookupError)
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        with pytest.raises(LookupError):
            async with lock:
                raise LookupError("mine")
        for error in (KeyboardInterrupt, SystemExit, GeneratorExit):
            with pytest.raises(error):
                async with lock:
                    backend.store.delete("orders")
                    raise error
        assert_free(lock, backend)

    run(host, main)


@on_each_host
def test_a_body_with_tasks_of_its_own(host: str) -> None:
    async def body() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(asleep)

    run(host, partial(losing, body))


@on_each_host
def test_a_body_whose_tasks_fail_as_they_are_cancelled(host: str) -> None:
    async def body() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(failing)
            group.start_soon(asleep)

    cause = run(host, partial(losing, body)).__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [type(error) for error in cause.exceptions] == [LookupError]


def test_an_asyncio_task_group_in_the_body() -> None:
    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(20.0))

    async def main() -> None:
        await losing(body)
        assert_no_cancel_is_left()

    run("asyncio", main)


def test_the_body_may_tidy_up_after_the_loss() -> None:
    tidied: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(20.0)
        finally:
            await asyncio.sleep(0.01)  # code for asyncio knows of one cancel, not of many
            tidied.append("up")

    run("asyncio", partial(losing, body))
    assert tidied == ["up"]


def test_a_body_that_swallows_its_cancel_raises_the_loss_at_its_end() -> None:
    async def body() -> None:
        try:
            await asyncio.sleep(20.0)
        except asyncio.CancelledError:
            pass

    async def main() -> None:
        await losing(body)
        assert_no_cancel_is_left()

    run("asyncio", main)


def test_a_cancel_from_outside_goes_before_the_loss() -> None:
    async def main() -> None:
        for outside_first in (True, False):
            backend = AsyncMemory()
            lock = DistributedLock("orders", backend, ttl=60.0)
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
            assert_free(lock, backend)

    run("asyncio", main)


def test_timeouts_around_and_inside() -> None:
    async def body() -> None:
        async with asyncio.timeout(10.0):
            await asyncio.sleep(20.0)

    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), lock:
                await asyncio.sleep(20.0)
        async with asyncio.timeout(10.0):
            await losing(body)
        async with lock:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(20.0)
        assert_no_cancel_is_left()
        assert_free(lock, backend)

    run("asyncio", main)


@on_each_host
def test_scopes_around_and_inside(host: str) -> None:
    inside: list[anyio.CancelScope] = []

    async def body() -> None:
        with anyio.move_on_after(10.0) as scope:
            inside.append(scope)
            await asleep()

    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        with anyio.move_on_after(0.02) as scope:
            async with lock:
                await asleep()
        assert scope.cancelled_caught
        with anyio.move_on_after(10.0) as scope:
            await losing(body)
        assert [each.cancelled_caught for each in (scope, *inside)] == [False, False]
        await anyio.lowlevel.checkpoint()  # nothing of a cancel is left over
        assert_free(lock, backend)

    run(host, main)


def test_a_shielded_body_ends_first() -> None:
    # On asyncio only a task of its own is out of a cancel's reach.
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, ttl=SOON)
        done: list[int] = []
        with pytest.raises(LeaseLost):
            async with lock as lease:
                backend.store.delete("orders")
                with trio.CancelScope(shield=True):
                    await until(lease.lost.is_set)
                    await trio.sleep(0.01)  # where it would be cancelled
                    done.append(1)
        assert done == [1]

    run("trio", main)


@on_each_host
def test_an_exit_stack_of_two_locks_one_of_which_is_lost(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        outer, inner = (DistributedLock(name, backend, ttl=2.0) for name in ("outer", "inner"))
        for lost in ("outer", "inner"):
            with pytest.raises(LeaseLost) as raised:
                async with AsyncExitStack() as stack:
                    await stack.enter_async_context(outer)
                    await stack.enter_async_context(inner)
                    backend.store.delete(lost)
                    await asleep()
            assert raised.value.lock == lost
            assert not backend.store.unreleased()
            assert not outer.locked()
            assert not inner.locked()

    run(host, main)


@on_each_host
def test_both_of_two_nested_are_lost(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        outer, inner = (DistributedLock(name, backend, ttl=SOON) for name in ("outer", "inner"))
        with pytest.raises(LeaseLost):
            async with outer, inner:
                backend.store.delete("outer")
                backend.store.delete("inner")
                await asleep()
        assert not backend.store.unreleased()
        if host == "asyncio":
            assert_no_cancel_is_left()

    run(host, main)


@on_each_host
def test_after_a_loss_the_next_of_the_process_waits_for_the_body(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, ttl=1.0)
        inside: list[str] = []

        async def loses() -> None:
            with pytest.raises(LeaseLost):
                async with lock:
                    inside.append("first")
                    backend.store.delete("orders")
                    try:
                        await asleep()
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


@on_each_host
def test_an_outage_that_nobody_waited_through_is_forgotten(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        backend.trouble("try_acquire", unavailable="once", times=1)
        backend.trouble("try_acquire", before=inf)
        with pytest.raises(AcquireTimeout) as caught:
            await lock.acquire(max_attempts=1)
        assert isinstance(caught.value.__cause__, BackendUnavailable)
        assert lock._gate.failure is None
        async with anyio.create_task_group() as group:
            group.start_soon(lock.acquire)
            await until(lambda: backend.under_way["try_acquire"])
            with pytest.raises(AcquireTimeout) as caught:
                await lock.acquire(timeout=0)
            assert caught.value.__cause__ is None
            group.cancel_scope.cancel()

    run(host, main)


@on_each_host
def test_who_gives_up_behind_a_holder_that_cannot_renew_says_why(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, ttl=20.0)
        lease = await lock.acquire()
        causes: list[object] = []

        async def give_up() -> None:
            with pytest.raises(AcquireTimeout) as caught:
                await lock.acquire(timeout=0)
            causes.append(caught.value.__cause__)

        async with anyio.create_task_group() as group:
            group.start_soon(give_up)
        failure = lease.lost.failure = BackendUnavailable("memory://", "renew", "no answer")
        async with anyio.create_task_group() as group:
            group.start_soon(give_up)
        assert causes == [None, failure]
        await lock.release()

    run(host, main)
