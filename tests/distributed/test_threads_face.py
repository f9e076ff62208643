"""`ThreadDistributedLock`: taking, losing and giving back in threads."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import tracemalloc
import warnings

import pytest

from backofflock import AcquireTimeout, Constant, DistributedLock, LeaseLost, ThreadDistributedLock
from backofflock.distributed._alarms import MANY, thread_alarms
from backofflock.errors import BackendRefused, BackendUnavailable
from backofflock.leases import Lease

from .hosts import run
from .memory import AsyncMemory, Memory, NativeMemory, Store, assert_free, until


def made(backend: Memory | None = None, ttl: float = 30.0) -> ThreadDistributedLock:
    return ThreadDistributedLock("orders", Memory() if backend is None else backend, ttl=ttl)


def assert_over(lock: ThreadDistributedLock, backend: Memory) -> None:
    """Check that the lock is free and nobody renews it any more."""
    assert_free(lock, backend)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease of")]


def test_with_gives_a_lease() -> None:
    backend = Memory()
    lock = made(backend)
    with lock as lease:
        assert isinstance(lease, Lease)
        assert lock.lease is lease
        assert lock.locked()
        assert backend.store.holder("orders") == lease.token
        assert (lease.name, lease.fence, lease.ttl) == ("orders", 1, 30.0)
    assert lock.lease is None
    assert lease.lost.is_set()
    assert_over(lock, backend)
    with lock as second:
        assert second.fence == 2
        assert second.token != lease.token


def test_acquire_and_release_in_any_thread() -> None:
    backend = Memory()
    lock = made(backend)
    leases: list[Lease] = []
    for act in (lambda: leases.append(lock.acquire()), lock.release):
        thread = threading.Thread(target=act)
        thread.start()
        thread.join(20)
    assert len(leases) == 1
    assert_over(lock, backend)


def test_releasing_what_is_not_held() -> None:
    lock = made()
    with pytest.raises(RuntimeError, match="cannot release lock 'orders'"):
        lock.release()
    with lock, pytest.raises(RuntimeError, match="cannot release"):
        lock.release()  # the body's is not to be released by hand
    lock.acquire()
    other = ThreadDistributedLock("orders", lock._backend)
    with pytest.raises(RuntimeError, match="cannot release"):
        other.release()
    lock.release()
    with pytest.raises(RuntimeError, match="cannot release"):
        lock.release()


def test_it_is_not_reentrant() -> None:
    backend = Memory()
    lock, same = made(backend), made(backend)
    with lock:
        for again in (lock, same):
            with pytest.raises(RuntimeError, match="not reentrant"):
                again.acquire()
    assert_over(lock, backend)


def test_a_thread_whose_ident_is_used_again_is_another() -> None:
    lock = made()
    idents: list[int] = []

    def take() -> None:
        idents.append(threading.get_ident())
        lock.acquire()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    outcomes: list[object] = []

    def try_it() -> None:
        idents.append(threading.get_ident())
        try:
            lock.acquire(timeout=0.01)
        except (AcquireTimeout, RuntimeError) as error:
            outcomes.append(type(error))

    for _ in range(20):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert set(outcomes) == {AcquireTimeout}
    assert len(set(idents)) < len(idents), "no ident was used again: nothing is shown here"
    lock.release()


def test_two_threads_that_release_at_once() -> None:
    # One of them has it; the other must not open the gate of who comes next.
    for _ in range(100):
        backend = Memory()
        lock = made(backend)
        lock.acquire()
        start = threading.Barrier(3)
        outcomes: list[object] = []

        def release(
            lock: ThreadDistributedLock = lock,
            start: threading.Barrier = start,
            outcomes: list[object] = outcomes,
        ) -> None:
            start.wait()
            try:
                lock.release()
            except (RuntimeError, LeaseLost) as error:
                outcomes.append(type(error))
            else:
                outcomes.append(None)

        inside: list[int] = []

        def follow(
            lock: ThreadDistributedLock = lock,
            start: threading.Barrier = start,
            inside: list[int] = inside,
        ) -> None:
            start.wait()
            with ThreadDistributedLock("orders", lock._backend) as lease:
                inside.append(1)
                time.sleep(0)
                lease.ensure_held()
                assert lock._gate.locked()
                inside.append(2)

        threads = [threading.Thread(target=release) for _ in range(2)]
        threads.append(threading.Thread(target=follow))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert outcomes.count(None) == 1, outcomes
        assert inside == [1, 2]
        assert_over(lock, backend)


def test_limits() -> None:
    backend = Memory()
    backend.store.give("orders")
    lock = ThreadDistributedLock("orders", backend, schedule=Constant(0.01), timeout=0.05)
    with pytest.raises(AcquireTimeout, match=r"timeout=0\.05"):
        lock.acquire()
    with pytest.raises(AcquireTimeout, match=r"timeout=0\.05"), lock:
        pass
    with pytest.raises(AcquireTimeout, match="max_attempts=2") as raised:
        lock.acquire(timeout=None, max_attempts=2)
    assert raised.value.attempts == 2
    with pytest.raises(AcquireTimeout, match="timeout=0"):
        lock.acquire(timeout=0)
    backend.store.delete("orders")
    assert_over(lock, backend)


def test_limits_behind_another_of_this_process() -> None:
    backend = Memory()
    lock = ThreadDistributedLock("orders", backend, schedule=Constant(1.0))
    outcomes: list[BaseException] = []

    def wait(**limits: float) -> None:
        try:
            lock.acquire(**limits)  # type: ignore[arg-type]
        except AcquireTimeout as error:
            outcomes.append(error)
        else:
            lock.release()

    with lock:
        for limits in ({"timeout": 0}, {"timeout": 0.05}, {"max_attempts": 1}):
            thread = threading.Thread(target=wait, kwargs=limits)
            thread.start()
            thread.join(20)
        assert len(outcomes) == 3
        # Tries are requests: this one waits for its turn to ask and has had none yet.
        patient = threading.Thread(target=wait, kwargs={"max_attempts": 2})
        patient.start()
        time.sleep(0.3)
        assert patient.is_alive()
    patient.join(20)
    assert len(outcomes) == 3
    assert backend.store.requests["try_acquire"] == 2
    assert_over(lock, backend)


def test_an_unanswered_try_is_released_for_certain() -> None:
    backend = Memory()
    lock = ThreadDistributedLock("orders", backend, schedule=Constant(0.01))
    backend.trouble("try_acquire", unavailable="lost")
    with pytest.raises(AcquireTimeout) as raised:
        lock.acquire(timeout=0.05)
    assert isinstance(raised.value.__cause__, BackendUnavailable)
    assert_over(lock, backend)
    backend.cure()
    backend.trouble("try_acquire", refused=True, times=1)
    with pytest.raises(BackendRefused):
        lock.acquire()
    backend.trouble("try_acquire", unavailable="lost", times=1)
    with lock as lease:  # the second request finds the grant of the first
        assert backend.store.holder("orders") == lease.token
    assert_over(lock, backend)


def test_what_the_body_raises_is_kept() -> None:
    backend = Memory()
    lock = made(backend)
    for error in (LookupError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), lock:
            raise error
        assert_over(lock, backend)
    for error in (KeyboardInterrupt, SystemExit):
        with pytest.raises(error), lock:
            backend.store.delete("orders")
            raise error
    with pytest.raises(LeaseLost) as raised, lock:
        backend.store.delete("orders")
        raise LookupError("mine")
    assert isinstance(raised.value.__cause__, LookupError)
    assert_over(lock, backend)
    assert lock.statistics().lost == 3


def test_a_loss_is_raised_at_the_end_and_by_ensure_held() -> None:
    backend = Memory()
    lock = made(backend, ttl=0.2)
    with pytest.raises(LeaseLost, match="another has it"), lock as lease:
        backend.store.delete("orders")
        assert lease.lost.wait(10.0)
        assert lease.remaining() == 0.0
        with pytest.raises(LeaseLost):
            lease.ensure_held()
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("lease of")])
    assert_over(lock, backend)


def test_a_holder_that_slept_through_its_lease(caplog: pytest.LogCaptureFixture) -> None:
    backend = Memory()
    lock = ThreadDistributedLock("orders", backend, ttl=0.05, renewal=False)
    with pytest.raises(LeaseLost, match="could not be renewed in time"), lock:
        time.sleep(0.2)
    assert_over(lock, backend)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "was lost" in errors[0].getMessage()


def test_a_release_that_is_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    backend = Memory()
    lock = ThreadDistributedLock("orders", backend, ttl=1.5, request_timeout=0.1)
    for trouble in ({"unavailable": "once"}, {"refused": True}):
        backend.trouble("release", **trouble)
        with lock:
            pass
        assert not lock.locked()
        backend.cure()
    assert sum("stays taken for up to 1.5 s" in message for message in caplog.messages) == 2
    assert lock.statistics().lost == 0
    with lock:  # once the ttl of the other is over
        pass


def test_in_an_event_loop_it_warns_or_refuses() -> None:
    backend = NativeMemory()
    threads, tasks = made(backend), DistributedLock("orders", backend)

    async def main() -> None:
        with pytest.warns(RuntimeWarning, match="blocks the event loop") as warned:
            threads.acquire()
        assert len(warned) == 1
        assert warned[0].filename == __file__
        threads.release()
        async with tasks:
            with pytest.raises(RuntimeError, match="deadlock: lock 'orders' is held by"):
                threads.acquire()

    for host in ("asyncio", "trio"):
        run(host, main)
    assert_over(threads, backend)


def test_native_coroutines_are_refused() -> None:
    with pytest.raises(TypeError, match="plain functions for threads"):
        ThreadDistributedLock("orders", AsyncMemory())


def test_many_threads_of_several_clients() -> None:
    store, counter, most = Store(), 0, 0

    def work() -> None:
        nonlocal counter, most
        lock = ThreadDistributedLock("orders", Memory(store), schedule=Constant(0.001, jitter=0.5))
        for _ in range(10):
            with lock as lease:
                counter += 1
                assert counter == 1
                assert lease.fence > most
                most = lease.fence
                time.sleep(0)
                counter -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 80
    assert not store.unreleased()


def test_ten_thousand_acquisitions_leave_nothing() -> None:
    backend = Memory()
    lock, other = made(backend), DistributedLock("orders", backend)
    backend.blocking = False

    def in_threads(times: int) -> None:
        for _ in range(times):
            with lock:
                pass

    async def in_tasks(times: int) -> None:
        for _ in range(times):
            async with other:
                pass

    def size() -> int:
        backend.store.asked.clear()
        backend.store.released.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        in_threads(200)
        asyncio.run(in_tasks(200))
        before = size()
        in_threads(5000)
        asyncio.run(in_tasks(5000))
        assert size() - before < 100_000, "10 bytes for each"
    finally:
        tracemalloc.stop()
    alarms = thread_alarms()
    assert len(alarms._heap) + len(alarms._new) < 2 * MANY
    assert_over(lock, backend)


def test_no_warning_where_no_loop_runs() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with made():
            pass
