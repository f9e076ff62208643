"""Running a main coroutine on the hosts of tasks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
import pytest
import trio

T = TypeVar("T")

HOSTS = ("asyncio", "trio")

on_each_host = pytest.mark.parametrize("host", HOSTS)


def run(host: str, main: Callable[[], Awaitable[T]], limit: float = 60.0) -> T:
    """Run `main` on a host, natively; a hang fails by `limit`."""

    async def bounded() -> T:
        if host == "trio":
            with trio.fail_after(limit):
                return await main()
        async with asyncio.timeout(limit):
            return await main()

    if host == "trio":
        return trio.run(bounded)
    if host == "eager":
        if sys.version_info < (3, 12):
            pytest.skip("asyncio has eager tasks from Python 3.12 on")
        with asyncio.Runner(loop_factory=_eager_loop) as runner:
            return runner.run(bounded())
    return asyncio.run(bounded())


def _eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    return loop


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait in a task until a condition holds."""
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.001)


@contextmanager
def unhandled() -> Iterator[list[Any]]:
    """Collect what the running loop of asyncio is told of errors that nobody handles."""
    told: list[Any] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: told.append(context))
    try:
        yield told
    finally:
        loop.set_exception_handler(before)
