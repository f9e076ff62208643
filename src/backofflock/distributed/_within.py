"""A time limit for one call of a backend, in tasks."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

from .._hosts import running_asyncio_task

__all__ = ["within"]

T = TypeVar("T")


async def within(seconds: float | None, call: Coroutine[Any, Any, T]) -> T:
    """Await a call; raise TimeoutError if it takes longer than some seconds, None for ever."""
    if seconds is None:
        return await call
    task = running_asyncio_task()
    if task is not None:
        return await _on_asyncio(task, seconds, call)
    with anyio.fail_after(seconds):
        return await call


async def _on_asyncio(task: asyncio.Task[Any], seconds: float, call: Coroutine[Any, Any, T]) -> T:
    """Do as `asyncio.timeout` does, in less time: there are two around each request."""
    is_late, cancels = False, task.cancelling()

    def give_up() -> None:
        nonlocal is_late
        is_late = True
        task.cancel()

    timer = task.get_loop().call_later(seconds, give_up)
    try:
        return await call
    except CancelledError as error:
        if is_late and task.cancelling() - 1 <= cancels:  # nobody else wants it cancelled
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
        if is_late:
            task.uncancel()
