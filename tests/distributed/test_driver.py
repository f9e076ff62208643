"""Doing what a policy asks for, giving a token back, and seeing a thing through."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Generator
from functools import partial
from math import inf
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from backofflock.distributed._driver import (
    drive,
    drive_in_thread,
    give_back,
    give_back_in_thread,
    see_through,
)
from backofflock.distributed._policy import Ask, Nap
from backofflock.errors import BackendRefused, BackendUnavailable
from backofflock.leases import Busy, Grant

from .hosts import on_each_host, run, unhandled
from .memory import AsyncMemory, Memory


def ask(backend: AsyncMemory, step: Ask | Nap) -> Any:
    """Return what answers one step, as a policy of one step would see it."""
    seen: list[object] = []

    def steps() -> Generator[Ask | Nap, Any, object]:
        try:
            seen.append((yield step))
        except BaseException as error:
            seen.append(error)
        return seen[0]

    begun = steps()
    return drive(begun, next(begun), backend, "orders", "a token", 30.0)


# -- drive -----------------------------------------------------------------------------------------


@on_each_host
def test_it_sends_each_call_and_gives_the_policy_the_answer(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        assert await ask(backend, Ask("try_acquire", 5.0)) == Grant(1, 30.0)
        assert await ask(backend, Ask("renew", 5.0)) is True
        backend.store.delete("orders")
        assert await ask(backend, Ask("renew", 5.0)) is False
        backend.store.give("orders")
        assert await ask(backend, Ask("try_acquire", 5.0)) == Busy()

    run(host, main)


@on_each_host
def test_it_naps(host: str) -> None:
    async def main() -> None:
        began = anyio.current_time()
        assert await ask(AsyncMemory(), Nap(0.02)) is None
        assert anyio.current_time() - began >= 0.019
        await ask(AsyncMemory(), Nap(0.0))

    run(host, main)


@on_each_host
def test_a_nap_of_0_lets_others_run(host: str) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            ran = anyio.Event()

            async def other() -> None:
                ran.set()

            group.start_soon(other)
            for _ in range(10):
                await ask(AsyncMemory(), Nap(0.0))
            assert ran.is_set()

    run(host, main)


@on_each_host
def test_a_request_that_hangs_is_unanswered_in_time(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        backend.trouble("renew", before=inf)
        began = anyio.current_time()
        failure = await ask(backend, Ask("renew", 0.05))
        assert isinstance(failure, BackendUnavailable)
        assert str(failure) == "memory:// did not answer renew: no answer within 0.05 s"
        assert 0.045 < anyio.current_time() - began < 5.0
        assert backend.under_way.total() == 0

    run(host, main)


@on_each_host
def test_what_the_backend_raises_goes_to_the_policy_only_if_unanswered(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        backend.trouble("renew", unavailable="once", times=1)
        assert isinstance(await ask(backend, Ask("renew", 5.0)), BackendUnavailable)
        backend.trouble("renew", refused=True, times=1)
        with pytest.raises(BackendRefused):
            await ask(backend, Ask("renew", 5.0))
        backend.trouble("renew", error=LookupError("a bug"), times=1)
        with pytest.raises(LookupError):
            await ask(backend, Ask("renew", 5.0))

    run(host, main)


@on_each_host
def test_cancelled_it_closes_the_policy(host: str) -> None:
    async def main() -> None:
        ended: list[BaseException] = []

        def steps() -> Generator[Ask | Nap, Any, None]:
            try:
                yield Nap(60.0)
            except BaseException as error:
                ended.append(error)
                raise

        begun = steps()
        with anyio.move_on_after(0.01):
            await drive(begun, next(begun), AsyncMemory(), "orders", "a token", 30.0)
        assert [type(error) for error in ended] == [GeneratorExit]

    run(host, main)


def test_a_timeout_of_the_caller_stays_the_callers() -> None:
    async def main() -> None:
        backend = AsyncMemory()
        backend.trouble("renew", before=inf)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01) as scope:
                await ask(backend, Ask("renew", 30.0))
        assert scope.expired()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run("asyncio", main)


# -- give back -------------------------------------------------------------------------------------


def acquired(backend: AsyncMemory | Memory) -> None:
    backend.store.try_acquire("orders", "a token", 30.0)


def give(backend: AsyncMemory, seconds: float = 5.0) -> Any:
    return give_back(backend, "orders", "a token", seconds)


@on_each_host
def test_give_back(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        assert await give(backend) == (False, 0)
        acquired(backend)
        backend.store.released.clear()
        acquired(backend)
        assert await give(backend) == (True, 0)
        assert backend.store.holder("orders") is None

    run(host, main)


@on_each_host
def test_it_tries_again_and_counts_what_was_not_answered(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        acquired(backend)
        backend.trouble("release", unavailable="once", times=3)
        assert await give(backend) == (True, 3)
        backend = AsyncMemory()
        acquired(backend)
        backend.trouble("release", unavailable="lost", times=1)
        assert await give(backend) == (False, 1)  # the first one had taken it
        assert backend.store.holder("orders") is None

    run(host, main)


@on_each_host
def test_it_gives_up_in_time(host: str) -> None:
    async def main() -> None:
        for trouble in ({"before": inf}, {"unavailable": "once"}):
            backend = AsyncMemory()
            backend.trouble("release", **trouble)
            began = anyio.current_time()
            had_it, unanswered = await give(backend, 0.1)
            assert had_it is None
            assert unanswered >= 1
            assert anyio.current_time() - began < 5.0

    run(host, main)


@on_each_host
def test_refused_it_does_not_try_again(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        backend.trouble("release", refused=True)
        assert await give(backend) == (None, 1)
        assert backend.store.requests["release"] == 0

    run(host, main)


def test_give_back_in_a_thread() -> None:
    backend = Memory()
    give = partial(give_back_in_thread, backend, "orders", "a token")
    acquired(backend)
    backend.trouble("release", unavailable="once", times=3)
    assert give(5.0) == (True, 3)
    assert give(5.0) == (False, 0)
    backend.trouble("release", unavailable="once")
    began = time.monotonic()
    had_it, unanswered = give(0.1)
    assert (had_it, unanswered > 1) == (None, True)
    assert time.monotonic() - began < 5.0
    backend.cure()
    backend.trouble("release", refused=True)
    assert give(5.0) == (None, 1)


# -- see through -----------------------------------------------------------------------------------


@on_each_host
def test_see_through_returns_what_it_is_to_do(host: str) -> None:
    async def act() -> int:
        await anyio.sleep(0.001)
        return 7

    assert run(host, partial(see_through, act)) == 7
    assert run("eager" if host == "asyncio" else host, partial(see_through, act)) == 7


@on_each_host
def test_see_through_raises_what_it_raises(host: str) -> None:
    async def act() -> None:
        await anyio.sleep(0.001)
        raise LookupError("a bug")

    with pytest.raises(LookupError):
        run(host, partial(see_through, act))


@on_each_host
def test_a_scope_that_is_cancelled_waits_for_it(host: str) -> None:
    async def main() -> None:
        done: list[str] = []

        async def act() -> None:
            await anyio.sleep(0.05)
            done.append("released")

        with anyio.move_on_after(0.01) as scope:
            await see_through(act)
            await anyio.lowlevel.checkpoint()
            done.append("went on")
        assert done == ["released"]
        assert scope.cancelled_caught

    run(host, main)


def test_native_cancels_however_many_wait_for_it_and_are_raised() -> None:
    async def main() -> None:
        done: list[str] = []

        async def act() -> None:
            await asyncio.sleep(0.05)
            done.append("released")

        task = asyncio.create_task(see_through(act))
        for number in range(10):
            await asyncio.sleep(0.002)
            assert task.cancel(f"cancel {number}")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["released"]
        assert task.cancelling() == 10

    run("asyncio", main)


def test_cancelled_before_its_first_step_it_is_seen_through_all_the_same() -> None:
    async def main() -> None:
        done: list[str] = []

        async def act() -> None:
            await asyncio.sleep(0)
            done.append("released")

        async def cancelled() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await see_through(act)

        task = asyncio.create_task(cancelled())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["released"]

    run("asyncio", main)
    run("eager", main)


def test_an_error_of_a_cancelled_one_is_not_reported_as_never_seen() -> None:
    async def main() -> None:
        async def act() -> None:
            await asyncio.sleep(0.01)
            raise LookupError("a bug")

        with unhandled() as told:
            task = asyncio.create_task(see_through(act))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or isinstance(task.exception(), LookupError)
            del task
            gc.collect()
            await asyncio.sleep(0)
        assert told == []

    run("asyncio", main)


def test_the_end_of_asyncio_run_does_not_cut_it_short() -> None:
    # asyncio.run cancels all tasks of the loop, also the one that sees to it.
    done: list[str] = []

    async def act() -> None:
        await asyncio.sleep(0.05)
        done.append("released")

    kept: list[object] = []

    async def main() -> None:
        async def waiter() -> None:
            await see_through(act)

        task = asyncio.create_task(waiter())
        kept.append(task)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert done == ["released"]


def test_a_guest_run_of_trio() -> None:
    async def guest() -> list[str]:
        done: list[str] = []

        async def act() -> None:
            await trio.sleep(0.01)
            done.append("released")

        with trio.move_on_after(0.001):
            await see_through(act)
        assert isinstance(await ask(AsyncMemory(), Ask("try_acquire", 5.0)), Grant)
        return done

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=over.set_result,
        )
        return (await over).unwrap()  # type: ignore[no-any-return]

    assert run("asyncio", main) == ["released"]


# -- in a thread -----------------------------------------------------------------------------------


def steps_of(*wanted: Ask | Nap, seen: list[object]) -> Generator[Ask | Nap, Any, str]:
    for step in wanted:
        try:
            seen.append((yield step))
        except BackendUnavailable as error:
            seen.append(type(error))
    return "over"


def test_drive_in_thread() -> None:
    backend, seen = Memory(), list[object]()
    backend.trouble("renew", unavailable="once", times=1)
    steps = steps_of(
        Ask("try_acquire", 5.0), Nap(0.001), Ask("renew", 5.0), Ask("renew", 5.0), seen=seen
    )
    over = drive_in_thread(steps, next(steps), backend, "orders", "a token", 30.0)
    assert over == "over"
    assert seen == [Grant(1, 30.0), None, BackendUnavailable, True]


def test_a_sleep_that_says_so_ends_it() -> None:
    seen: list[object] = []
    steps = steps_of(Nap(1.0), Nap(2.0), Nap(3.0), seen=seen)
    naps: list[float] = []

    def sleep(seconds: float) -> bool:
        naps.append(seconds)
        return len(naps) == 2

    assert drive_in_thread(steps, next(steps), Memory(), "orders", "t", 30.0, sleep) is None
    assert naps == [1.0, 2.0]
    with pytest.raises(StopIteration):  # it is closed
        next(steps)
