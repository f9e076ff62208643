"""A time limit for one call of a backend, in tasks."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

from .._hosts import running_asyncio_task
from ._alarms import alarms_of

__all__ = ["within"]

T = TypeVar("T")


async def within(seconds: float | None, call: Coroutine[Any, Any, T]) -> T:
    """Await a call; raise TimeoutError if it takes longer than some seconds, None for ever.

    On asyncio it does as `asyncio.timeout` does, in less time: there are two around each request.
    """
    if seconds is None:
        return await call
    task = running_asyncio_task()
    if task is None:
        with anyio.fail_after(seconds):
            return await call
    is_late, cancels = False, task.cancelling()

    def give_up() -> None:
        nonlocal is_late
        is_late = True
        task.cancel()

    alarm = alarms_of(task.get_loop()).call_later(seconds, give_up)
    try:
        return await call
    except CancelledError as error:
        if is_late and task.cancelling() - 1 <= cancels:  # nobody else wants it cancelled
            raise TimeoutError from error
        raise
    finally:
        alarm.cancel()
        if is_late:
            task.uncancel()
