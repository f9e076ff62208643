"""Risk: a KeyboardInterrupt strikes between two instructions and the lock stays taken for ever.

These tests interrupt each use at the n-th place where a signal can, for every n.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest

from backofflock import LeaseLost, ThreadDistributedLock
from backofflock.distributed import _alarms

from ..striking import strike
from . import memory
from .memory import Memory

# Without the generators of _policy.py: what strikes as one is disposed of cannot go anywhere.
OURS = tuple(
    f"backofflock/{name}.py"
    for name in (
        "distributed/_threads",
        "distributed/_driver",
        "distributed/_alarms",
        "distributed/_keepers",
        "distributed/_base",
        "distributed/_gate",
        "leases",
    )
)


@pytest.fixture
def started() -> None:
    """The alarms have their thread already: to start a thread is code of `threading`."""
    _alarms.thread_alarms().call_at(0.0, lambda: None)


def assert_free(lock: ThreadDistributedLock, backend: Memory) -> None:
    assert not lock._gate.locked()
    assert lock._gate.ticket is None
    assert lock._gate.holder is None
    assert not lock.locked()
    assert backend.store.holder("orders") is None
    # Nobody renews, and it can be had again.
    lock.acquire(timeout=0)
    lock.release()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease of")]


@pytest.mark.usefixtures("started")
def test_at_every_place_of_an_acquire() -> None:
    for at in range(1, 1000):
        backend = Memory()
        lock = ThreadDistributedLock("orders", backend, ttl=60.0)
        leases: list[Any] = []

        def acquire(lock: ThreadDistributedLock = lock, leases: list[Any] = leases) -> None:
            leases.append(lock.acquire())

        if not strike(acquire, at, OURS):
            assert at > 20, "the places were not found"
            lock.release()
            return
        if leases:
            lock.release()  # it struck after the lease was handed over
        assert_free(lock, backend)
        alarms = _alarms.thread_alarms()
        in_heap, beside = list(alarms._heap), list(alarms._new)
        for alarm in (*(entry[2] for entry in in_heap), *(entry[1] for entry in beside)):
            alarm.ring()  # the time of the first renewal has come
        memory.until(lambda: not [t for t in threading.enumerate() if t.name.startswith("lease")])
        assert backend.store.requests["renew"] == 0
    raise AssertionError("there was no end")


@pytest.mark.usefixtures("started")
def test_at_every_place_of_an_acquire_that_has_to_wait() -> None:
    for at in range(1, 1000):
        backend = Memory()
        backend.store.give("orders", ttl=0.002)
        lock = ThreadDistributedLock("orders", backend, ttl=60.0)
        leases: list[Any] = []

        def acquire(lock: ThreadDistributedLock = lock, leases: list[Any] = leases) -> None:
            leases.append(lock.acquire())

        struck = strike(acquire, at, OURS)
        if leases:
            lock.release()
        if not struck:
            return
        memory.until(lambda: backend.store.holder("orders") is None)  # noqa: B023
        assert_free(lock, backend)


@pytest.mark.usefixtures("started")
def test_at_every_place_of_a_release() -> None:
    for at in range(1, 1000):
        backend = Memory()
        lock = ThreadDistributedLock("orders", backend, ttl=60.0)
        lease = lock.acquire()
        struck = strike(lock.release, at, OURS)
        if lock._gate.locked():
            # It struck before the release had begun: all is as it was, and can be tried again.
            assert struck
            assert lock.lease is lease
            lease.ensure_held()
            lock.release()
        assert_free(lock, backend)
        if not struck:
            return


@pytest.mark.usefixtures("started")
def test_at_every_place_of_the_end_of_a_body_that_lost_its_lease() -> None:
    for at in range(1, 1000):
        backend = Memory()
        lock = ThreadDistributedLock("orders", backend, ttl=60.0)
        lock.acquire()
        backend.store.delete("orders")

        def release(lock: ThreadDistributedLock = lock) -> None:
            try:
                lock.release()
            except LeaseLost:
                pass

        struck = strike(release, at, OURS)
        if lock._gate.locked():
            release()
        assert_free(lock, backend)
        if not struck:
            return


@pytest.mark.usefixtures("started")
def test_a_handler_takes_another_lock_at_every_place() -> None:
    backend = Memory()
    lock = ThreadDistributedLock("orders", backend, ttl=60.0)
    another = ThreadDistributedLock("invoices", backend, ttl=60.0)
    places: list[int] = []

    def take(lock: ThreadDistributedLock) -> None:
        with lock as lease:
            lease.ensure_held()

    def run() -> None:
        at = 1
        while strike(partial(take, lock), at, OURS, partial(take, another)):
            at += 1
        places.append(at)

    thread = threading.Thread(target=run, daemon=True)  # a handler that waits for ever is the fault
    thread.start()
    thread.join(60.0)
    assert places, "the handler hangs"
    assert places[0] > 40, "the places were not found"
    assert_free(lock, backend)
