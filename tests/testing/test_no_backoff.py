"""`no_backoff`: naps of no time, for every kind of lock, and as long as it is on."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable

import pytest
import trio

from backofflock import (
    Attempt,
    BackoffLock,
    Constant,
    DistributedLock,
    Sequence,
    ThreadBackoffLock,
    WaitDetails,
)
from backofflock.distributed._turns import Turns
from backofflock.testing import no_backoff

from ..distributed.hosts import on_each_host, run
from ..distributed.memory import AsyncMemory
from .taken import GiveUp, on_every_kind

HOUR = 3600.0


def delay_to_be_slept() -> float:
    """Return the nap that a waiter is about to take: an hour, or 0 while naps are skipped."""
    lock = ThreadBackoffLock(Constant(HOUR))
    with lock:
        attempts = lock.attempts()
        attempt: Attempt = next(iter(attempts))
        attempts.close()
    assert not attempt
    return attempt.delay


# -- every kind of lock ----------------------------------------------------------------------------


@on_every_kind
def test_naps_take_no_time_and_tries_count(give_up: GiveUp) -> None:
    with no_backoff():
        error = give_up(Constant(HOUR), max_attempts=5)
    assert (error.attempts, error.reason) == (5, "max_attempts=5")
    assert error.waited < HOUR


@on_every_kind
def test_a_schedule_that_ends_ends_the_wait(give_up: GiveUp) -> None:
    with no_backoff():
        error = give_up(Sequence((HOUR, HOUR)))
    assert (error.attempts, error.reason) == (3, "the schedule is exhausted")


@on_every_kind
def test_time_limits_are_those_of_the_clock(give_up: GiveUp) -> None:
    with no_backoff():
        error = give_up(Constant(HOUR), timeout=0.05)
    assert error.reason == "timeout=0.05"
    assert error.waited >= 0.05
    assert error.attempts > 2, "it slept until the deadline"


@on_every_kind
def test_the_hint_of_a_backend_is_not_slept(give_up: GiveUp) -> None:
    with no_backoff():
        assert give_up(Constant(0.0), retry_after=HOUR, max_attempts=3).attempts == 3


@on_each_host
def test_the_moment_that_is_left_to_other_processes_takes_no_time(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Turns, "ceded", lambda self, now: HOUR)

    async def main() -> bool:
        async with DistributedLock("orders", AsyncMemory()) as lease:
            return lease.fence == 1

    with no_backoff():
        assert run(host, main)


@on_every_kind
def test_who_watches_is_told_the_delay_of_the_schedule(give_up: GiveUp) -> None:
    told: list[WaitDetails] = []
    with no_backoff():
        give_up(Constant(HOUR), max_attempts=3, on_wait=told.append)
    assert [details.delay for details in told] == [HOUR, HOUR]


# -- others run meanwhile --------------------------------------------------------------------------


@on_each_host
def test_a_waiting_task_lets_the_others_run(host: str) -> None:
    lock, order = BackoffLock(Constant(HOUR), wake_on_release=False), []
    sleep = asyncio.sleep if host == "asyncio" else trio.sleep

    async def hold(held: Callable[[], object]) -> None:
        async with lock:
            held()
            for _ in range(100):
                await sleep(0)
            order.append("held")

    async def wait() -> None:
        async with lock:
            order.append("waited")

    async def main() -> None:
        if host == "asyncio":
            held = asyncio.Event()
            holder = asyncio.create_task(hold(held.set))
            await held.wait()
            await wait()
            await holder
            return
        async with trio.open_nursery() as nursery:
            held_of_trio = trio.Event()
            nursery.start_soon(hold, held_of_trio.set)
            await held_of_trio.wait()
            await wait()

    with no_backoff():
        run(host, main)
    assert order == ["held", "waited"]


def test_a_waiting_thread_lets_the_others_run() -> None:
    lock = ThreadBackoffLock(Constant(HOUR), wake_on_release=False)
    is_waiting, done = threading.Event(), []

    def wait() -> None:
        with lock:
            done.append("waited")

    with no_backoff():
        lock.acquire()
        waiter = threading.Thread(target=wait)
        waiter.start()
        while not lock.statistics().tasks_waiting:
            is_waiting.wait(0.001)
        done.append("held")
        lock.release()
        waiter.join(60.0)
    assert done == ["held", "waited"]


# -- when it is on ---------------------------------------------------------------------------------


def test_it_ends_with_its_block() -> None:
    assert delay_to_be_slept() == HOUR
    with no_backoff():
        assert delay_to_be_slept() == 0.0
    assert delay_to_be_slept() == HOUR


def test_it_ends_with_an_error() -> None:
    with pytest.raises(KeyError), no_backoff():
        raise KeyError
    assert delay_to_be_slept() == HOUR


def test_it_nests() -> None:
    with no_backoff():
        with no_backoff():
            assert delay_to_be_slept() == 0.0
        assert delay_to_be_slept() == 0.0
    assert delay_to_be_slept() == HOUR


def test_two_that_overlap_last_until_the_second_ends() -> None:
    first, second = no_backoff(), no_backoff()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert delay_to_be_slept() == 0.0
    second.__exit__(None, None, None)
    assert delay_to_be_slept() == HOUR


def test_it_holds_for_all_threads() -> None:
    seen: list[float] = []
    with no_backoff():
        thread = threading.Thread(target=lambda: seen.append(delay_to_be_slept()))
        thread.start()
        thread.join(60.0)
    assert seen == [0.0]


def test_it_decorates_functions() -> None:
    @no_backoff()
    def decorated(more: float) -> float:
        """Has a docstring."""
        return delay_to_be_slept() + more

    assert (decorated(1.0), decorated(more=2.0)) == (1.0, 2.0)
    assert decorated.__doc__ == "Has a docstring."
    assert delay_to_be_slept() == HOUR


def test_it_decorates_coroutine_functions_and_lasts_while_they_run() -> None:
    @no_backoff()
    async def decorated(more: float) -> float:
        await asyncio.sleep(0)
        return delay_in_a_task() + more

    def delay_in_a_task() -> float:
        with pytest.warns(RuntimeWarning, match="blocks the event loop"):
            return delay_to_be_slept()

    assert inspect.iscoroutinefunction(decorated)
    coroutine = decorated(1.0)
    assert delay_to_be_slept() == HOUR, "it began before it was awaited"
    assert asyncio.run(coroutine) == 1.0
    assert delay_to_be_slept() == HOUR
