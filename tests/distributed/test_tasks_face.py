"""`DistributedLock`: what a task gets, and what it is told."""

from __future__ import annotations

import copy
import pickle
import threading
from datetime import timedelta
from functools import partial
from math import inf, nan
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from backofflock import (
    AcquireTimeout,
    Constant,
    DistributedLock,
    ThreadDistributedLock,
    WaitDetails,
)
from backofflock.errors import BackendRefused, BackendUnavailable
from backofflock.leases import Lease

from .hosts import HOSTS, on_each_host, run, until
from .memory import AsyncMemory, Memory, NativeMemory, assert_free

on_all_hosts = pytest.mark.parametrize("host", [*HOSTS, "eager"])
with_each_client = pytest.mark.parametrize(
    "make", [AsyncMemory, Memory, NativeMemory, lambda: Memory(blocking=False)]
)


@on_all_hosts
@with_each_client
def test_async_with_gives_a_lease(host: str, make: Any) -> None:
    async def main() -> None:
        backend = make()
        lock = DistributedLock("orders", backend)
        async with lock as lease:
            assert isinstance(lease, Lease)
            assert lock.lease is lease
            assert lock.locked()
            assert backend.store.holder("orders") == lease.token
            assert (lease.name, lease.fence, lease.ttl) == ("orders", 1, 30.0)
            assert 29.0 < lease.remaining() <= 30.0
        assert lock.lease is None
        assert lease.lost.is_set()
        assert_free(lock, backend)
        lease = await lock.acquire(timeout=timedelta(seconds=5))
        assert lease.fence == 2
        await lock.release()
        assert_free(lock, backend)
        assert backend.store.requests == {"try_acquire": 2, "release": 2}

    run(host, main)


@on_all_hosts
def test_one_object_serves_many_tasks(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        fences: list[int] = []
        inside = 0

        async def work() -> None:
            nonlocal inside
            async with lock as lease:
                inside += 1
                assert inside == 1
                assert lock.lease is lease
                fences.append(lease.fence)
                await anyio.lowlevel.checkpoint()
                inside -= 1

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(work)
        assert fences == list(range(1, 51))
        assert_free(lock, backend)

    run(host, main)


def test_loops_of_several_threads_share_one_object() -> None:
    backend = AsyncMemory()
    lock = DistributedLock("orders", backend)
    inside = 0

    async def work() -> None:
        nonlocal inside
        for _ in range(10):
            async with lock:
                inside += 1
                assert inside == 1
                await anyio.lowlevel.checkpoint()
                inside -= 1

    threads = [
        threading.Thread(target=run, args=(host, work)) for host in ("asyncio", "trio", "asyncio")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert backend.store.fences["orders"] == 30
    assert_free(lock, backend)


def test_it_is_made_outside_of_any_loop_and_used_in_many() -> None:
    backend = AsyncMemory()
    lock = DistributedLock("orders", backend)

    async def take() -> int:
        async with lock as lease:
            return lease.fence

    assert [run(host, take) for host in ("asyncio", "trio", "asyncio", "eager")] == [1, 2, 3, 4]


@on_each_host
def test_released_by_another_task(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        async with anyio.create_task_group() as group:
            group.start_soon(lock.acquire)
        assert lock.locked()
        await lock.release()
        assert_free(lock, backend)

    run(host, main)


@on_each_host
def test_releasing_what_is_not_held(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        with pytest.raises(RuntimeError, match="cannot release lock 'orders'"):
            await lock.release()
        async with lock:
            with pytest.raises(RuntimeError, match="cannot release"):
                await lock.release()  # the body's is not to be released by hand
        await lock.acquire()
        with pytest.raises(RuntimeError, match="cannot release"):
            await DistributedLock("orders", backend).release()
        outcomes: list[object] = []

        async def release() -> None:
            try:
                await lock.release()
            except RuntimeError as error:
                outcomes.append(type(error))
            else:
                outcomes.append(None)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(release)
        assert sorted(map(str, outcomes)) == ["<class 'RuntimeError'>"] * 2 + ["None"]
        assert_free(lock, backend)

    run(host, main)


@on_each_host
def test_it_is_not_reentrant(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock, same = (DistributedLock("orders", backend) for _ in range(2))
        async with lock:
            for again in (lock, same):
                with pytest.raises(RuntimeError, match="already, and the lock is not reentrant"):
                    await again.acquire()
        async with DistributedLock("bills", backend), lock:
            pass
        assert_free(lock, backend)

    run(host, main)


def test_outside_of_a_task() -> None:
    lock = DistributedLock("orders", AsyncMemory())
    with pytest.raises(RuntimeError, match="in a task of asyncio or trio"):
        lock.acquire().send(None)
    assert not lock.locked()


@on_each_host
def test_limits(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        backend.store.give("orders")
        lock = DistributedLock("orders", backend, schedule=Constant(0.01), timeout=0.05)
        with pytest.raises(AcquireTimeout, match=r"timeout=0\.05"):
            await lock.acquire()
        with pytest.raises(AcquireTimeout, match=r"timeout=0\.05"):
            async with lock:
                pass
        with pytest.raises(AcquireTimeout, match="max_attempts=2") as raised:
            await lock.acquire(timeout=None, max_attempts=2)
        assert raised.value.attempts == 2
        sent = backend.store.requests["try_acquire"]
        with pytest.raises(AcquireTimeout, match="timeout=0"):
            await lock.acquire(timeout=0)
        assert backend.store.requests["try_acquire"] == sent + 1
        backend.store.delete("orders")
        assert_free(lock, backend)

    run(host, main)


@on_each_host
def test_limits_behind_another_of_this_process(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, schedule=Constant(0.001))

        async def gives_up(**limits: Any) -> None:
            with pytest.raises(AcquireTimeout):
                await lock.acquire(**limits)

        async with anyio.create_task_group() as group, lock:
            for limits in ({"timeout": 0}, {"timeout": 0.03}, {"max_attempts": 1}):
                group.start_soon(partial(gives_up, **limits))
            await until(lambda: lock.statistics().timeouts == 3)
        assert backend.store.requests["try_acquire"] == 1  # they never had their turn to ask

        async def patient() -> None:
            await lock.acquire(max_attempts=2)
            await lock.release()

        async with anyio.create_task_group() as group, lock:
            group.start_soon(patient)
            await anyio.sleep(0.3)  # tries are requests, and it has made none yet
            assert lock.statistics().tasks_waiting == 1
        assert_free(lock, backend)

    run(host, main)


@on_each_host
def test_a_server_that_hangs_does_not_hold_up_the_timeout(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, request_timeout=0.05, schedule=Constant(0.01))
        backend.trouble("try_acquire", before=inf)
        began = anyio.current_time()
        with pytest.raises(AcquireTimeout) as raised:
            await lock.acquire(timeout=0.1)
        assert 0.09 < anyio.current_time() - began < 5.0
        assert isinstance(raised.value.__cause__, BackendUnavailable)
        assert_free(lock, backend)

    run(host, main)


@on_each_host
def test_an_answer_later_than_the_ttl_is_no_lease(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, ttl=0.05, schedule=Constant(0.01))
        backend.trouble("try_acquire", after=0.1, times=2)
        async with lock as lease:
            lease.ensure_held()
            assert backend.store.holder("orders") == lease.token
        assert lock.statistics().unanswered == 2
        assert_free(lock, backend)

    run(host, main)


@on_each_host
def test_refused(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend)
        backend.trouble("try_acquire", refused=True)
        with pytest.raises(BackendRefused, match="memory:// refused try_acquire"):
            await lock.acquire()
        assert backend.store.requests["try_acquire"] == 0
        backend.cure()
        backend.trouble("release", refused=True)
        async with lock:
            pass  # the log says that it stays taken
        assert not lock.locked()

    run(host, main)


@on_each_host
def test_on_wait_is_told_of_both_queues(host: str) -> None:
    async def main() -> None:
        told: list[WaitDetails] = []
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, schedule=Constant(0.01), on_wait=told.append)
        backend.store.give("orders")
        async with anyio.create_task_group() as group:
            group.start_soon(lock.acquire)
            await until(lambda: len(told) >= 2)
            assert {details.lock for details in told} == {"orders"}
            assert [details.attempt for details in told[:2]] == [1, 2]
            assert told[0].delay == 0.01
            backend.store.delete("orders")
        before = len(told)
        same = DistributedLock("orders", backend, on_wait=told.append)  # behind the gate
        with pytest.raises(AcquireTimeout):
            await same.acquire(timeout=0.01)
        assert len(told) > before
        assert told[-1].lock == "orders"
        await lock.release()

    run(host, main)


# -- what is refused at construction ---------------------------------------------------------------

BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"name": ""}, ValueError, "name must not be empty"),
    ({"name": None}, TypeError, "name must be a str"),
    ({"name": b"orders"}, TypeError, "name must be a str"),
    ({"backend": object()}, TypeError, "backend must be a URL"),
    ({"backend": None}, TypeError, "backend must be a URL"),
    ({"backend": "nonsense"}, ValueError, "a backend's URL begins with"),
    ({"ttl": 0}, ValueError, "ttl must be more than 0 seconds"),
    ({"ttl": -1}, ValueError, "ttl must be"),
    ({"ttl": nan}, ValueError, "ttl must be"),
    ({"ttl": inf}, ValueError, "ttl must be"),
    ({"ttl": "30"}, TypeError, "ttl must be"),
    ({"ttl": True}, TypeError, "ttl must be"),
    ({"renewal": -1}, ValueError, "renewal must be"),
    ({"renewal": None}, TypeError, "renewal must be"),
    ({"request_timeout": 0}, ValueError, "request_timeout must be more than 0"),
    ({"request_timeout": None}, TypeError, "request_timeout must be"),
    ({"timeout": -1}, ValueError, "timeout must be"),
    ({"max_attempts": 0}, ValueError, "max_attempts must be"),
    ({"max_attempts": 1.5}, TypeError, "max_attempts must be"),
    ({"schedule": 1.0}, TypeError, "schedule must be a Schedule"),
    ({"on_wait": 1}, TypeError, "on_wait must be a plain function"),
    ({"on_wait": anyio.sleep}, TypeError, "on_wait must be a plain function"),
    ({"rng": 1}, TypeError, "rng must have a method random"),
]


@pytest.mark.parametrize("kind", [DistributedLock, ThreadDistributedLock])
@pytest.mark.parametrize(("given", "error", "says"), BAD, ids=[str(bad[0]) for bad in BAD])
def test_what_is_refused(
    kind: type[DistributedLock], given: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        kind(**{"name": "orders", "backend": Memory(), **given})


def test_durations_may_be_timedeltas() -> None:
    lock = DistributedLock(
        "orders",
        Memory(),
        ttl=timedelta(seconds=10),
        renewal=timedelta(minutes=1),
        timeout=timedelta(seconds=2),
        request_timeout=timedelta(seconds=1),
    )
    assert (lock._ttl, lock._renewed_for, lock._request_timeout) == (10.0, 60.0, 1.0)
    assert lock._default_limits == (2.0, None)


@on_each_host
def test_arguments_of_acquire_are_looked_at(host: str) -> None:
    async def main() -> None:
        lock = DistributedLock("orders", AsyncMemory())
        with pytest.raises(ValueError, match="timeout must be"):
            await lock.acquire(timeout=-1)
        with pytest.raises(ValueError, match="max_attempts must be"):
            await lock.acquire(max_attempts=0)
        assert not lock.locked()

    run(host, main)


def test_name_repr_and_copies() -> None:
    lock = DistributedLock("orders", Memory())
    assert lock.name == "orders"
    assert repr(lock) == "<backofflock.distributed._tasks.DistributedLock 'orders' at memory://>"
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot pickle or copy a DistributedLock"):
            act(lock)
