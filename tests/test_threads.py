"""`ThreadBackoffLock`: the contract of `threading.Lock`, and the loops it must not block."""

from __future__ import annotations

import asyncio
import threading
import warnings
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import anyio
import pytest
import trio

from backofflock import AcquireTimeout, ThreadBackoffLock, WouldBlock, threads
from backofflock._hosts import ThreadWaiter

from .scripts import until

LIMIT = 10.0


def in_thread(function: Any, *arguments: Any) -> Any:
    """Run a function in another thread and return what it returns."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)), daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive(), "the thread hangs"
    return results[0]


@pytest.mark.parametrize(
    "arguments",
    [
        (False, 1),
        (False, 0),
        (True, -2),
        (True, -0.5),
        (True, float("nan")),
        (True, float("inf")),
        (True, 1e20),
        (True, "1"),
        (True, None),
        ("yes", -2),
        (True, 1, 2),
    ],
)
def test_argument_errors_are_those_of_threading_lock(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        threading.Lock().acquire(*arguments)
    lock = ThreadBackoffLock()
    with pytest.raises(theirs.type) as ours:
        lock.acquire(*arguments)
    if len(arguments) == 2:
        assert str(ours.value) == str(theirs.value)
    assert not lock.locked()


@pytest.mark.parametrize("arguments", [(), (True,), (1,), (False,), (0,), (True, 0), (True, 0.5)])
def test_a_free_lock_is_acquired_whatever_the_arguments(arguments: tuple[Any, ...]) -> None:
    lock = ThreadBackoffLock()
    assert lock.acquire(*arguments) is True
    assert lock.locked()
    lock.release()


@pytest.mark.parametrize(
    "arguments", [(False,), (0,), (True, 0), (True, 0.01), (True, timedelta(milliseconds=5))]
)
def test_a_taken_lock_is_not_acquired(arguments: tuple[Any, ...]) -> None:
    lock = ThreadBackoffLock()
    lock.acquire()
    assert lock.acquire(*arguments) is False
    assert lock.statistics().tasks_waiting == 0


def test_another_thread_may_release() -> None:
    lock = ThreadBackoffLock()
    lock.acquire()
    in_thread(lock.release)
    assert not lock.locked()


def test_releasing_a_free_lock_is_refused() -> None:
    lock = ThreadBackoffLock(name="orders")
    with pytest.raises(RuntimeError, match="release unlocked lock: 'orders' is free"):
        lock.release()
    with pytest.raises(RuntimeError, match="release unlocked lock"), lock:
        lock.release()
    assert lock.acquire(False)


def test_with_returns_true_as_threading_lock_does() -> None:
    with ThreadBackoffLock() as entered:
        assert entered is True


def test_with_obeys_the_constructors_limits_and_says_so() -> None:
    lock = ThreadBackoffLock(timeout=0.01, name="orders")
    lock.acquire()
    with pytest.raises(AcquireTimeout, match="'orders'.*timeout=0.01"), lock:
        pytest.fail("two inside")
    assert lock.acquire() is False
    limited = ThreadBackoffLock(max_attempts=2)
    limited.acquire()
    assert limited.acquire(timeout=LIMIT) is False


def test_acquire_nowait() -> None:
    lock = ThreadBackoffLock(name="orders")
    lock.acquire_nowait()
    with pytest.raises(WouldBlock, match="'orders'"):
        lock.acquire_nowait()


def test_a_condition_takes_the_lock_back_whatever_the_limits() -> None:
    lock = ThreadBackoffLock(timeout=0.0, max_attempts=1)
    condition = threading.Condition(lock)  # type: ignore[arg-type]
    waiting = threading.Event()

    def waits() -> bool:
        with condition:
            waiting.set()
            notified = condition.wait(LIMIT)
            assert lock.locked()
            return notified

    def notifies() -> None:
        waiting.wait(LIMIT)
        lock.acquire(timeout=LIMIT)
        condition.notify()
        lock.release()

    thread = threading.Thread(target=notifies)
    thread.start()
    assert in_thread(waits)
    thread.join(LIMIT)
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.notify()


def test_waiting_in_a_thread_that_runs_a_loop_warns_at_the_callers_line() -> None:
    lock = ThreadBackoffLock(name="orders")

    def releases_once_somebody_waits() -> None:
        try:
            until(lambda: lock.statistics().tasks_waiting)
        finally:
            lock.release()

    async def blocks_its_loop() -> None:
        lock.acquire()  # as a foreign thread would hold it: by no task
        with pytest.warns(RuntimeWarning, match="'orders' blocks the event loop") as caught:
            assert lock.acquire(timeout=0.001) is False
        assert caught[0].filename == __file__
        with pytest.warns(RuntimeWarning, match="blocks the event loop") as caught:
            threading.Thread(target=releases_once_somebody_waits).start()
            with lock:
                pass
        assert caught[0].filename == __file__
        lock.acquire()
        with (
            pytest.warns(RuntimeWarning, match="blocks the event loop") as caught,
            pytest.raises(AcquireTimeout),
        ):
            for attempt in lock.attempts(max_attempts=2):
                assert not attempt
        assert caught[0].filename == __file__
        lock.release()

    for run in (asyncio.run, trio.run):
        if run is asyncio.run:
            asyncio.run(blocks_its_loop())
        else:
            trio.run(blocks_its_loop)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_try_in_a_loop_neither_blocks_nor_warns(backend: str) -> None:
    lock = ThreadBackoffLock()

    async def tries() -> None:
        async with lock:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert lock.acquire(False) is False
                assert lock.acquire(timeout=0) is False
                with pytest.raises(WouldBlock):
                    lock.acquire_nowait()

    anyio.run(tries, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_waiting_for_a_task_of_the_loop_one_blocks_is_a_deadlock(backend: str) -> None:
    lock = ThreadBackoffLock(name="orders")

    async def holds_and_blocks() -> None:
        async with lock:
            for call in (lock.acquire, lock.__enter__, lambda: next(lock.attempts())):
                with pytest.raises(RuntimeError, match="deadlock: lock 'orders' is held by"):
                    call()
        assert not lock.locked()

    anyio.run(holds_and_blocks, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_task_of_another_loop_is_no_deadlock(backend: str) -> None:
    lock = ThreadBackoffLock()
    held, let_go = threading.Event(), threading.Event()

    async def holds() -> None:
        async with lock:
            held.set()
            await anyio.to_thread.run_sync(let_go.wait, LIMIT)

    async def blocks_its_own_loop() -> None:
        with pytest.warns(RuntimeWarning, match="blocks the event loop"):
            assert lock.acquire(timeout=0.01) is False

    holder = threading.Thread(target=lambda: anyio.run(holds, backend=backend))
    holder.start()
    assert held.wait(LIMIT)
    anyio.run(blocks_its_own_loop, backend=backend)
    let_go.set()
    holder.join(LIMIT)
    assert not lock.locked()


def test_a_thread_beside_the_loop_may_wait_for_its_tasks() -> None:
    lock = ThreadBackoffLock()

    async def main() -> bool:
        async with lock:
            waiting = asyncio.create_task(asyncio.to_thread(lock.acquire, True, LIMIT))
            while lock.statistics().tasks_waiting == 0:
                await asyncio.sleep(0)
        return await waiting

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asyncio.run(main()) is True


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_acquire_async(backend: str) -> None:
    lock = ThreadBackoffLock(name="orders")

    async def main() -> None:
        assert await lock.acquire_async() is True
        with pytest.raises(AcquireTimeout, match="timeout=0.01"):
            await lock.acquire_async(timeout=0.01)
        with pytest.raises(AcquireTimeout, match="max_attempts=1"):
            await lock.acquire_async(max_attempts=1)
        lock.release()

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_a_task_acquired_may_be_released_by_an_exit_stack(backend: str) -> None:
    lock = ThreadBackoffLock()

    async def main() -> None:
        with ExitStack() as stack:
            await lock.acquire_async()
            stack.push(lock)
            assert lock.statistics().owner is not None
        assert not lock.locked()
        with lock:
            assert lock.statistics().owner is None

    anyio.run(main, backend=backend)


def test_a_thread_gives_way_where_the_key_is_left_to_another_and_only_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queued: list[int] = []
    lock = ThreadBackoffLock(fair_after=0)
    monkeypatch.setattr(threads, "give_way", lambda: queued.append(len(lock._queue)))
    with lock:
        assert not lock.acquire(timeout=0.001)
    assert queued == []
    lock.acquire()
    away = ThreadWaiter(0.0)  # it is woken, and does not come
    policy = lock._contention.contend(away, (None, None), None)
    next(policy)
    lock.release()
    with lock:  # passes it over when it is late
        assert queued == [1]
    policy.close()
