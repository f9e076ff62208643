"""The body of ``async with``, which the loss of its lease cancels."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from typing import Any

import anyio

__all__ = ["AsyncioBody", "Body", "TrioBody"]


class AsyncioBody:
    """A body in a task of asyncio, cancelled once, as `asyncio.timeout` does it."""

    __slots__ = ("_cancelled", "_cancelling", "_task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self._cancelling = task.cancelling()
        self._cancelled = False

    def cancel(self) -> None:
        """Cancel it; call it in the thread of the loop, from outside of the task."""
        self._cancelled = True
        self._task.cancel()

    def end(self, error: BaseException | None) -> BaseException | None:
        """Return what ended the body, but for our own cancel."""
        if not self._cancelled:
            return error
        by_us_alone = self._task.uncancel() <= self._cancelling
        return None if by_us_alone and isinstance(error, CancelledError) else error


class TrioBody:
    """A body in a task of trio, in a cancel scope."""

    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope = anyio.CancelScope()
        self._scope.__enter__()

    def cancel(self) -> None:
        """Cancel it; call it in the thread of trio."""
        self._scope.cancel()

    def end(self, error: BaseException | None) -> BaseException | None:
        """Return what ended the body, but for our own cancel."""
        try:
            kind = None if error is None else type(error)
            trace = None if error is None else error.__traceback__
            return None if self._scope.__exit__(kind, error, trace) else error
        except BaseException as left:  # of a group, or that another task leaves what this entered
            return left


Body = AsyncioBody | TrioBody
