"""What listeners are told of leases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from math import inf

import anyio
import pytest

from backofflock import (
    AcquireTimeout,
    Constant,
    DistributedLock,
    LeaseLost,
    LockEvent,
    ThreadDistributedLock,
    WaitDetails,
    instrument,
)

from ..backends.memory import MemoryBackend, Place
from .hosts import on_each_host, run, until
from .memory import AsyncMemory

SOON = Constant(0.001)


@pytest.fixture
def events() -> Iterator[list[LockEvent]]:
    """Listen, and collect what is told."""
    told: list[LockEvent] = []
    with instrument(told.append):
        yield told


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend(Place())


def brief(events: list[LockEvent]) -> list[tuple[object, ...]]:
    return [(each.kind, each.lock, each.face, each.outcome, each.attempts) for each in events]


def until_attempt(number: int, backend: MemoryBackend) -> Callable[[WaitDetails], None]:
    """Have another process hold the lock; return a hook that releases it after so many tries."""
    backend.try_acquire("jobs", "another", 30.0)

    def release(details: WaitDetails) -> None:
        if details.attempt == number:
            backend.release("jobs", "another")

    return release


def hold(face: str, outcome: str = "released") -> tuple[object, ...]:
    return ("hold", "jobs", face, outcome, None)


@on_each_host
def test_a_lease_at_once_is_a_hold_and_no_wait(
    host: str, backend: MemoryBackend, events: list[LockEvent]
) -> None:
    async def main() -> None:
        lock = DistributedLock("jobs", backend)
        async with lock:
            await anyio.sleep(0.005)
            assert events == []
        await lock.acquire()
        await lock.release()

    run(host, main)
    assert brief(events) == [hold("DistributedLock")] * 2
    assert events[0].seconds >= 0.005


def test_a_lease_of_a_thread_at_once(backend: MemoryBackend, events: list[LockEvent]) -> None:
    with ThreadDistributedLock("jobs", backend):
        time.sleep(0.005)
        assert events == []
    assert brief(events) == [hold("ThreadDistributedLock")]
    assert events[0].seconds >= 0.005


@on_each_host
def test_a_task_that_waits_for_another_process(
    host: str, backend: MemoryBackend, events: list[LockEvent]
) -> None:
    lock = DistributedLock("jobs", backend, schedule=SOON)

    async def main() -> None:
        backend.try_acquire("jobs", "another", 30.0)
        with pytest.raises(AcquireTimeout):
            await lock.acquire(max_attempts=3)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(lock.acquire, name="impatient")
                await until(lambda: lock._gate.holder)
                scope.cancel()
        backend.release("jobs", "another")
        async with lock:
            pass

    run(host, main)
    timeout, cancelled, released = events
    face = "DistributedLock"
    assert brief([timeout, released]) == [("wait", "jobs", face, "timeout", 3), hold(face)]
    assert timeout.seconds >= 0.002
    assert (cancelled.outcome, cancelled.waiter) == ("cancelled", "impatient")
    assert lock.statistics().attempts == 3 + (cancelled.attempts or 0) + 1


def test_a_thread_that_waits_for_another_process(
    backend: MemoryBackend, events: list[LockEvent]
) -> None:
    hook = until_attempt(3, backend)
    lock = ThreadDistributedLock("jobs", backend, schedule=SOON, on_wait=hook)
    with pytest.raises(AcquireTimeout):
        lock.acquire(max_attempts=2)
    with lock:
        pass
    timeout, acquired, released = events
    face = "ThreadDistributedLock"
    assert brief([timeout, released]) == [("wait", "jobs", face, "timeout", 2), hold(face)]
    assert timeout.waiter == threading.current_thread().name
    assert brief([acquired]) == [("wait", "jobs", face, "acquired", 4)]
    assert acquired.seconds == lock.statistics().total_wait
    assert acquired.waiter == threading.current_thread().name


@on_each_host
def test_those_who_wait_in_one_process_are_told_of_once(
    host: str, backend: MemoryBackend, events: list[LockEvent]
) -> None:
    lock = DistributedLock("jobs", backend)

    async def visit() -> None:
        async with lock:
            pass

    async def be_impatient() -> None:
        with pytest.raises(AcquireTimeout):
            await DistributedLock("jobs", backend).acquire(timeout=0.001)

    async def main() -> None:
        async with anyio.create_task_group() as group, lock:
            group.start_soon(visit)
            await until(lambda: lock.statistics().tasks_waiting == 1)
            group.start_soon(be_impatient)
            await until(lambda: events)

    run(host, main)
    face = "DistributedLock"
    assert brief(events) == [
        ("wait", "jobs", face, "timeout", 0),  # it never got to ask
        hold(face),
        ("wait", "jobs", face, "acquired", 1),
        hold(face),
    ]


def test_threads_that_wait_in_one_process(backend: MemoryBackend, events: list[LockEvent]) -> None:
    lock = ThreadDistributedLock("jobs", backend)
    failures: list[AcquireTimeout] = []

    def visit() -> None:
        try:
            lock.acquire(timeout=0.001)
        except AcquireTimeout as error:
            failures.append(error)

    with lock:
        thread = threading.Thread(target=visit, name="another")
        thread.start()
        thread.join(20.0)
    assert len(failures) == 1
    face = "ThreadDistributedLock"
    assert brief(events) == [("wait", "jobs", face, "timeout", 0), hold(face)]
    assert events[0].waiter == "another"


@on_each_host
def test_a_lost_lease_is_a_hold_that_failed(
    host: str, backend: MemoryBackend, events: list[LockEvent]
) -> None:
    async def main() -> None:
        lock = DistributedLock("jobs", backend, ttl=0.03)
        with pytest.raises(LeaseLost):
            async with lock:
                backend.place.holds.clear()
                await anyio.sleep(20.0)

    run(host, main)
    assert brief(events) == [hold("DistributedLock", "lost")]
    assert events[0].failed


def test_a_thread_that_finds_its_lease_gone_at_the_release(
    backend: MemoryBackend, events: list[LockEvent]
) -> None:
    with pytest.raises(LeaseLost), ThreadDistributedLock("jobs", backend):
        backend.place.holds.clear()
    assert brief(events) == [hold("ThreadDistributedLock", "lost")]


@on_each_host
@pytest.mark.parametrize("outcome", ["acquired", "timeout", "released"])
def test_an_interrupt_in_a_listener_leaves_nothing_held(
    host: str, backend: MemoryBackend, outcome: str
) -> None:
    hook = until_attempt(2, backend)
    lock = DistributedLock("jobs", backend, schedule=SOON, on_wait=hook)

    def interrupt(event: LockEvent) -> None:
        if event.outcome == outcome:
            raise KeyboardInterrupt

    async def main() -> None:
        with instrument(interrupt), pytest.raises(KeyboardInterrupt):
            await lock.acquire(max_attempts=1 if outcome == "timeout" else None)
            await lock.release()
        assert not lock._gate.locked()
        assert lock.lease is None

    run(host, main)
    backend.release("jobs", "another")
    assert not backend.place.holds


def test_a_listener_that_raises_does_not_lose_the_lease(
    backend: MemoryBackend, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: LockEvent) -> None:
        raise ZeroDivisionError

    hook = until_attempt(1, backend)
    lock = ThreadDistributedLock("jobs", backend, schedule=SOON, on_wait=hook)
    with instrument(fail), lock as lease:
        lease.ensure_held()
    assert not backend.place.holds
    assert [each.message.split(" failed")[1][:10] for each in caplog.records] == [" at LockEv"] * 2


@on_each_host
def test_a_hold_that_is_cancelled_is_told_of(host: str, events: list[LockEvent]) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("jobs", backend)
        with anyio.CancelScope() as scope:
            async with lock:
                scope.cancel()
                await anyio.sleep(20.0)
        assert brief(events) == [hold("DistributedLock")]
        assert backend.store.requests["release"] >= 1
        with anyio.CancelScope() as scope:
            async with lock as lease:
                lease.lost.end("it was stolen")
                scope.cancel()
                await anyio.sleep(20.0)
        lost = [event.outcome for event in events if event.kind == "hold"]
        assert lost == ["released", "lost"], lost
        assert lock.statistics().lost == 1

    run(host, main)


@on_each_host
def test_a_cancelled_release_that_is_not_answered_is_logged(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("jobs", backend)
        with anyio.CancelScope() as scope:
            async with lock:
                backend.trouble("release", before=inf)
                scope.cancel()
                await anyio.sleep(20.0)
        assert lock.statistics().unanswered >= 1

    run(host, main)
    assert "did not answer the release" in caplog.text
