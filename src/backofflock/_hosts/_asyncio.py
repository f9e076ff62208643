"""Waiting as an asyncio task: any loop, uvloop and eager tasks included."""

from __future__ import annotations

import asyncio
import time
from asyncio import _get_running_loop, current_task

from .._contention import Waiter

__all__ = ["AsyncioWaiter", "current_task"]


class AsyncioWaiter(Waiter):
    """A wait of one asyncio task; create it in the task."""

    __slots__ = ("_loop", "_nap", "task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self._loop = task.get_loop()
        self._nap: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.get_name()

    def clock(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    async def nap(self, seconds: float) -> None:
        """Sleep for `seconds` or until woken; a cancel ends it with CancelledError."""
        if seconds <= 0.0 or self.woken:
            await asyncio.sleep(0)
            return
        self._nap = nap = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._end_nap)
        try:
            await nap
        finally:
            timer.cancel()

    def wake(self) -> bool:
        """End the nap, from any thread; return False if the loop is closed."""
        if _get_running_loop() is self._loop:
            self._end_nap()
            return True
        try:
            self._loop.call_soon_threadsafe(self._end_nap)
        except RuntimeError:
            return False
        return True

    def _end_nap(self) -> None:
        nap = self._nap
        if nap is not None and not nap.done():
            nap.set_result(None)
