"""Risk: a time limit swallows a cancel, or leaves one behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from backofflock.distributed._within import within

SHORT = 0.01
LONG = 20.0


async def answers() -> str:
    await asyncio.sleep(0)
    return "an answer"


async def answers_when_cancelled() -> str:
    try:
        await asyncio.sleep(LONG)
    except asyncio.CancelledError:
        return "an answer"
    raise AssertionError("nobody cancelled it")


async def fails_when_cancelled() -> None:
    try:
        await asyncio.sleep(LONG)
    except asyncio.CancelledError:
        raise KeyError("its own") from None


def cancels() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@pytest.mark.parametrize("seconds", [None, LONG])
def test_an_answer_in_time_is_returned(seconds: float | None) -> None:
    async def main() -> None:
        assert await within(seconds, answers()) == "an answer"
        assert cancels() == 0

    asyncio.run(main())


def test_the_limit_ends_with_the_call() -> None:
    async def main() -> None:
        await within(10 * SHORT, answers())
        await asyncio.sleep(20 * SHORT)

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_takes_longer_is_a_timeout(backend: str) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await within(SHORT, anyio.sleep(LONG))
        await anyio.sleep(SHORT)  # no cancel is left

    anyio.run(main, backend=backend)


@pytest.mark.parametrize(
    ("call", "error"), [(answers_when_cancelled, None), (fails_when_cancelled, KeyError)]
)
def test_what_ends_by_itself_when_it_is_late_ends_so_and_leaves_no_cancel(
    call: Callable[[], Coroutine[Any, Any, object]], error: type[Exception] | None
) -> None:
    async def main() -> None:
        if error is None:
            assert await within(SHORT, call()) == "an answer"
        else:
            with pytest.raises(error):
                await within(SHORT, call())
        assert cancels() == 0
        await asyncio.sleep(0)

    asyncio.run(main())


@pytest.mark.parametrize("late", [False, True], ids=["in time", "late too"])
def test_a_cancel_by_others_goes_first(late: bool) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def call() -> None:
            begun.set()
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                if late:  # stays until the limit has cancelled it, too
                    with pytest.raises(asyncio.CancelledError):
                        await asyncio.sleep(LONG)
                raise

        task = asyncio.create_task(within(5 * SHORT if late else LONG, call()))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task], timeout=LONG)
        assert task.cancelled()
        assert task.cancelling() == 1

    asyncio.run(main())


def test_a_limit_within_a_limit_is_told_apart() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await within(LONG, within(SHORT, asyncio.sleep(LONG)))
        async with asyncio.timeout(SHORT):
            try:
                await within(LONG, asyncio.sleep(LONG))
            except TimeoutError:
                pytest.fail("that was the limit of the caller")

    with pytest.raises(TimeoutError):
        asyncio.run(main())
