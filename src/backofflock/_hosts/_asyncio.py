"""Waiting as an asyncio task: any loop, uvloop and eager tasks included."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Future, Task, _get_running_loop
from collections.abc import Awaitable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from time import monotonic
from typing import Any

from .._contention import Waiter

__all__ = ["Alarms", "AsyncioWaiter"]


class AsyncioWaiter(Waiter):
    """A wait of one asyncio task; create it in the task."""

    __slots__ = ("_alarm", "_loop", "_nap", "nap_ends", "task")

    def __init__(self, task: Task[Any], alarms: Alarms) -> None:
        self.task = task
        self._loop = loop = task.get_loop()
        self._alarm = alarms.get(loop) or Alarm(loop, alarms)
        self._nap: Future[None] | None = None
        self.nap_ends = 0.0

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.get_name()

    clock = staticmethod(monotonic)

    def nap(self, seconds: float) -> Awaitable[None]:
        """Sleep for `seconds` or until woken; a cancel ends it with CancelledError."""
        if seconds <= 0.0 or self.woken:
            return asyncio.sleep(0)
        self._nap = nap = self._loop.create_future()
        self._alarm.set(self, seconds)
        return nap

    def wake(self) -> bool:
        """End the nap, from any thread; return False if the loop is closed."""
        if _get_running_loop() is self._loop:
            nap = self._nap
            if nap is not None and not nap.done():
                nap.set_result(None)
            return True
        try:
            self._loop.call_soon_threadsafe(self.end_nap)
        except RuntimeError:
            return False
        return True

    def end_nap(self) -> None:
        """End the nap, in the thread of the loop."""
        nap = self._nap
        if nap is not None and not nap.done():
            nap.set_result(None)

    def naps_until(self, time: float) -> bool:
        """Return whether it naps, and `time` is when the nap shall end."""
        nap = self._nap
        return time == self.nap_ends and nap is not None and not nap.done()


class Alarm:
    """The one timer of a lock's waiters on a loop, due when the first of their naps ends.

    Most naps are cut short by a wake-up. To arm and cancel a timer for each costs more than all
    the rest of the wait; here a nap costs a place in a heap, which is left to go stale.
    """

    __slots__ = ("_alarms", "_due", "_heap", "_loop", "_purge_at", "_serial", "_timer")

    def __init__(self, loop: AbstractEventLoop, alarms: Alarms) -> None:
        for other in list(alarms):
            if other.is_closed():
                alarms.pop(other, None)
        alarms[loop] = self
        self._alarms = alarms
        self._loop = loop
        self._heap: list[tuple[float, int, AsyncioWaiter]] = []
        self._serial = count().__next__  # two naps of a waiter may end at the same time
        self._purge_at = 64
        self._due = inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, waiter: AsyncioWaiter, seconds: float) -> None:
        """End the nap of `waiter` after `seconds`."""
        waiter.nap_ends = ends = monotonic() + seconds
        heappush(self._heap, (ends, self._serial(), waiter))
        if ends < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = ends
            self._timer = self._loop.call_later(seconds, self._ring)
        if len(self._heap) >= self._purge_at:
            self._heap = [entry for entry in self._heap if entry[2].naps_until(entry[0])]
            heapify(self._heap)
            self._purge_at = max(64, 4 * len(self._heap))

    def _ring(self) -> None:
        now = monotonic()
        heap = self._heap
        while heap and (heap[0][0] <= now or not heap[0][2].naps_until(heap[0][0])):
            ends, _, waiter = heappop(heap)
            if waiter.naps_until(ends):
                waiter.end_nap()
        if heap:
            self._due = heap[0][0]
            self._timer = self._loop.call_later(self._due - now, self._ring)
        else:
            self._due = inf
            self._timer = None
            self._alarms.pop(self._loop, None)


Alarms = dict[AbstractEventLoop, Alarm]
"""The alarms of one lock."""
