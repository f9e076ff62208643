"""`record_attempts`: each failed try of every lock, in order, and by wait."""

from __future__ import annotations

import asyncio
import logging

import pytest

from backofflock import BackoffLock, Constant, Linear, ThreadBackoffLock, WaitDetails
from backofflock.testing import no_backoff, record_attempts

from .taken import GiveUp, on_every_kind


def fail(lock: ThreadBackoffLock) -> None:
    """Wait for a lock in vain."""
    with lock, no_backoff():
        assert not lock.acquire()


@on_every_kind
def test_every_try_is_recorded(give_up: GiveUp) -> None:
    with record_attempts() as recorded, no_backoff():
        error = give_up(Linear(60.0), max_attempts=4)
    assert recorded.delays("orders") == [0.0, 60.0, 120.0]
    assert [details.attempt for details in recorded] == [1, 2, 3]
    assert len(recorded) == error.attempts - 1 == 3
    assert all(isinstance(details, WaitDetails) for details in recorded)
    waited = [details.waited for details in recorded]
    assert waited == sorted(waited)
    assert waited[-1] <= error.waited
    assert recorded.waits() == [list(recorded)]


def test_locks_and_waiters_are_told_apart_by_name() -> None:
    orders = ThreadBackoffLock(Constant(1.0), max_attempts=2, name="orders")
    stock = ThreadBackoffLock(Constant(2.0), max_attempts=3, name="stock")
    with record_attempts() as recorded:
        fail(orders)
        fail(stock)
    assert recorded.delays() == [1.0, 2.0, 2.0]
    assert recorded.delays("orders") == [1.0]
    assert recorded.delays("stock", "MainThread") == recorded.delays("stock") == [2.0, 2.0]
    assert recorded.delays("stock", "another") == recorded.delays("nothing") == []
    assert [len(wait) for wait in recorded.waits()] == [1, 2]
    assert [len(wait) for wait in recorded.waits(waiter="MainThread")] == [1, 2]
    assert [len(wait) for wait in recorded.waits("stock")] == [2]
    assert recorded.waits(waiter="another") == []


def test_waits_that_overlap_are_told_apart_even_under_one_name() -> None:
    lock = BackoffLock(Constant(1.0), max_attempts=3, name="orders")

    async def main() -> None:
        async with lock:
            waiters = [asyncio.create_task(lock.acquire(), name="one of two") for _ in range(2)]
            await asyncio.wait(waiters)
            assert all(waiter.exception() for waiter in waiters)

    with record_attempts() as recorded, no_backoff():
        asyncio.run(main())
    assert [details.attempt for details in recorded] == [1, 1, 2, 2]
    waits = recorded.waits("orders", "one of two")
    assert [[details.attempt for details in wait] for wait in waits] == [[1, 2], [1, 2]]


def test_tasks_that_would_rest_are_recorded() -> None:
    lock = BackoffLock(name="orders")

    async def main() -> None:
        async with lock:
            waiters = [asyncio.create_task(lock.acquire(), name=f"{i}") for i in range(3)]
            while lock.statistics().tasks_waiting < 3:
                await asyncio.sleep(0)
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)

    with record_attempts() as recorded:
        asyncio.run(main())
    assert [wait[0].waiter for wait in recorded.waits()] == ["0", "1", "2"]


def test_a_wait_that_gets_the_lock_at_once_is_none() -> None:
    with record_attempts() as recorded, ThreadBackoffLock():
        pass
    assert (len(recorded), recorded.waits(), list(recorded)) == (0, [], [])


def test_what_counts_is_when_the_wait_began() -> None:
    lock = ThreadBackoffLock(Constant(0.0))
    with lock:
        early = lock.attempts()
        next(early)
        with record_attempts() as recorded:
            next(early)
            assert len(recorded) == 0
            early.close()
            late = lock.attempts()
            next(late)
            assert len(recorded) == 1
        next(late)
        assert len(recorded) == 2
        late.close()
        after = lock.attempts()
        next(after)
        after.close()
        assert len(recorded) == 2


def test_recorders_nest() -> None:
    lock = ThreadBackoffLock(Constant(0.0), max_attempts=2)
    with record_attempts() as outer:
        with record_attempts() as inner:
            fail(lock)
        fail(lock)
    fail(lock)
    assert (len(outer), len(inner)) == (2, 1)


def test_it_ends_with_an_error() -> None:
    with pytest.raises(KeyError), record_attempts() as recorded:
        raise KeyError
    fail(ThreadBackoffLock(Constant(0.0), max_attempts=2))
    assert len(recorded) == 0


def test_all_who_listen_are_told_and_the_record_comes_before_a_hook_that_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[WaitDetails] = []

    def on_wait(details: WaitDetails) -> None:
        told.append(details)
        raise KeyError(details.attempt)

    lock = ThreadBackoffLock(Constant(0.0), name="orders", on_wait=on_wait)
    with (
        caplog.at_level(logging.DEBUG, "backofflock"),
        record_attempts() as recorded,
        lock,
        pytest.raises(KeyError),
    ):
        lock.acquire()
    assert told == list(recorded)
    assert len(told) == 1
    (record,) = caplog.records
    assert record.getMessage() == str(told[0])
    assert vars(record)["lock"] == "orders"
    assert str(told[0]) in repr(recorded)
