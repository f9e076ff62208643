"""Risk: a forked child thinks it holds what its parent holds, or hangs at what it got of it."""

from __future__ import annotations

import os

import pytest

from ..contract.test_fork import run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

SHARED = """
import asyncio
from backofflock import DistributedLock, LeaseLost, ThreadDistributedLock
from tests.distributed.memory import Memory
"""


def test_held_by_a_thread_of_the_parent() -> None:
    run(
        SHARED
        + """
backend = Memory()
lock = ThreadDistributedLock("orders", backend, ttl=3.0)
lease = lock.acquire()
until(lambda: backend.store.requests["renew"])  # its threads run

def child():
    assert not lock.locked() and lock.lease is None
    assert lease.lost.is_set() and lease.remaining() == 0.0
    try:
        lease.ensure_held()
    except LeaseLost as error:
        assert "forked" in error.reason
    else:
        raise AssertionError("the child holds it too")
    try:
        lock.release()
    except LeaseLost:
        pass
    else:
        raise AssertionError("the child released what its parent holds")
    assert backend.store.holder("orders") == lease.token
    backend.store.delete("orders")
    with lock as mine:  # with alarms and a renewal of its own
        sent = backend.store.requests["renew"]
        until(lambda: backend.store.requests["renew"] > sent)
        mine.ensure_held()

for _ in range(5):
    in_child(child)
lease.ensure_held()
lock.release()
"""
    )


def test_in_the_body() -> None:
    run(
        SHARED
        + """
backend = Memory()
lock = ThreadDistributedLock("orders", backend)

with lock as lease:
    warnings.simplefilter("ignore", DeprecationWarning)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            try:
                lock.__exit__(None, None, None)
            except LeaseLost:
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    lease.ensure_held()
"""
    )


def test_in_the_body_while_the_child_has_one_of_its_own() -> None:
    run(
        SHARED
        + """
backend = Memory()
lock = ThreadDistributedLock("orders", backend)

def child():
    backend.store.delete("orders")
    mine = lock.acquire()
    try:
        lock.__exit__(None, None, None)
    except RuntimeError:
        mine.ensure_held()
        lock.release()
    else:
        raise AssertionError("the parent's block has released the lease of the child")

with lock as lease:
    in_child(child)
    lease.ensure_held()
"""
    )


def test_held_and_waited_for_by_tasks_of_the_parent() -> None:
    run(
        SHARED
        + """
backend = Memory(blocking=False)
lock = DistributedLock("orders", backend)

async def main():
    async with lock as lease:
        waiter = asyncio.create_task(lock.acquire())
        while not lock.statistics().tasks_waiting:
            await asyncio.sleep(0)

        def child():
            assert not lock.locked() and not lock.statistics().tasks_waiting
            backend.store.delete("orders")
            other = ThreadDistributedLock("orders", backend)
            with other as mine:
                mine.ensure_held()
            assert lease.lost.is_set()

        in_child(child)
        lease.ensure_held()
        assert lock.statistics().tasks_waiting == 1
    await waiter
    await lock.release()

asyncio.run(main())
"""
    )


def test_while_threads_of_the_parent_are_at_the_locks() -> None:
    run(
        SHARED
        + """
backend = Memory()
over = threading.Event()

def work(name):
    lock = ThreadDistributedLock(name, backend, ttl=0.004)
    while not over.is_set():
        try:
            with lock as lease:
                lease.lost.wait(0.002)
        except LeaseLost:
            pass  # to fork takes its time

names = "orders", "orders", "bills"
threads = [threading.Thread(target=work, args=(name,)) for name in names]
for thread in threads:
    thread.start()

def child():
    backend.store.mutex = threading.Lock()  # the server is not what is tested
    backend._number = threading.Lock()
    backend.store.holders.clear()
    for name in names:
        with ThreadDistributedLock(name, backend, timeout=10.0) as lease:
            lease.ensure_held()

try:
    for _ in range(40):
        in_child(child)
finally:
    over.set()
for thread in threads:
    thread.join(20)
"""
    )
