"""Calls for later, most of which are called off: one timer for all of an event loop.

Each request has a time limit and each lease a time of renewal, and nearly all of them are over
before. To arm a timer of the loop for each, and to cancel it, costs more than the rest of an
acquisition; here it costs a place in a heap, which is left to go stale. For threads one thread
waits for all.
"""

from __future__ import annotations

import os
import threading
import traceback
from _thread import allocate_lock
from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from time import monotonic

from .._key import new_key

__all__ = ["Alarm", "LoopAlarms", "ThreadAlarms", "alarms_of", "thread_alarms"]

FEW = 64
"""So many alarms may lie in a heap before it is looked through for those that are cancelled."""

MANY = 256
"""So many may lie beside the heap of the threads before these are: that wakes the thread."""


class Alarm:
    """A function that is to be called, unless it is cancelled before."""

    __slots__ = ("act",)

    def __init__(self, act: Callable[[], object]) -> None:
        self.act: Callable[[], object] | None = act

    def cancel(self) -> None:
        """Do not call it."""
        self.act = None

    def ring(self) -> None:
        """Call it, if it has not been cancelled or called before."""
        act, self.act = self.act, None
        if act is not None:
            act()


class _Alarms:
    """A heap of alarms, in order of time."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._number = count().__next__  # two may be due at the same time
        self._purge_at = FEW
        self._rings_at = inf
        """When it looks next: most alarms are set for later, and need not move that."""

    def _add(self, when: float, alarm: Alarm) -> None:
        heappush(self._heap, (when, self._number(), alarm))
        if len(self._heap) > self._purge_at:
            self._heap = [entry for entry in self._heap if entry[2].act is not None]
            heapify(self._heap)
            self._purge_at = max(FEW, 2 * len(self._heap))

    def _due(self, now: float) -> Iterator[Alarm]:
        """Take out those that are due, and note when to look next.

        The cancelled are dropped only behind one that is due: if the last one went as soon as it is
        cancelled, every new one would be the first, and have to move the time.
        """
        heap, found = self._heap, False
        try:
            while heap and (heap[0][0] <= now or (found and heap[0][2].act is None)):
                yield heap[0][2]
                heappop(heap)  # not before: an interrupt may have it taken out again, but not lost
                found = True
        finally:
            self._rings_at = heap[0][0] if heap else inf


class LoopAlarms(_Alarms):
    """The alarms of an event loop of asyncio, in its time. Only its thread uses them."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self._timer: TimerHandle | None = None
        self._context = Context()  # not that of whoever arms the timer: it would be kept alive

    def call_later(self, seconds: float, act: Callable[[], object]) -> Alarm:
        """Call `act` after some seconds."""
        when = self.loop.time() + seconds
        alarm = Alarm(act)
        self._add(when, alarm)
        if when < self._rings_at:
            self._ring_at(when)
        return alarm

    def _ring_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = self.loop.call_at(when, self._ring, context=self._context)

    def _ring(self) -> None:
        self._timer = None
        try:
            for alarm in self._due(self.loop.time()):
                self.loop.call_soon(alarm.ring)  # each by itself: it may fail
        finally:
            if self._rings_at < inf:
                self._ring_at(self._rings_at)


class ThreadAlarms(_Alarms):
    """The alarms of all threads of this process, and the thread that waits for them.

    There is no mutex: a signal handler or finalizer may set one in the middle of anything here.
    Only the thread has the heap; the others put what is new where it finds it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._new: deque[tuple[float, Alarm]] = deque()
        self._unclaimed = new_key()
        """Of the thread that waits: it is there until one runs."""
        self._unchanged = allocate_lock()
        """Taken while there is nothing to look at before `_rings_at`."""
        self._unchanged.acquire()

    def call_at(self, when: float, act: Callable[[], object]) -> Alarm:
        """Call `act`, which must return at once, at a time of `time.monotonic`."""
        if self._unclaimed:
            threading.Thread(target=self._run, name="backofflock leases", daemon=True).start()
        alarm = Alarm(act)
        self._new.append((when, alarm))
        if when < self._rings_at or len(self._new) > MANY:
            try:
                self._unchanged.release()
            except RuntimeError:
                pass  # it is about to look
        return alarm

    def _run(self) -> None:
        try:
            del self._unclaimed[0]
        except IndexError:
            return  # another was started too, and was quicker
        while True:
            self._take_in()
            for alarm in self._due(monotonic()):
                try:
                    alarm.ring()
                except Exception:  # of somebody's logging handler, say
                    traceback.print_exc()
            # Whoever has set one since then saw when this looks next, or is seen here.
            if not self._take_in():
                left = max(0.0, self._rings_at - monotonic())
                self._unchanged.acquire(timeout=min(left, threading.TIMEOUT_MAX))

    def _take_in(self) -> bool:
        """Put what is new into the heap; return whether there was any."""
        new, found = self._new, False
        while True:
            try:
                when, alarm = new.popleft()
            except IndexError:
                return found
            found = True
            # One that is cancelled stands for those to come, which need not wake the thread then.
            if alarm.act is not None or not self._heap:
                self._add(when, alarm)


class _Here(threading.local):
    """What belongs to a thread."""

    alarms: LoopAlarms | None = None
    """Those of the event loop that it ran last."""


_here = _Here()
_threads = ThreadAlarms()


def alarms_of(loop: AbstractEventLoop) -> LoopAlarms:
    """Return the alarms of the running event loop; of one that ran before others, new ones."""
    alarms = _here.alarms
    if alarms is None or alarms.loop is not loop:
        alarms = _here.alarms = LoopAlarms(loop)
    return alarms


def thread_alarms() -> ThreadAlarms:
    """Return the alarms of this process's threads."""
    return _threads


def _after_fork() -> None:
    global _threads
    _threads = ThreadAlarms()  # the thread that waits is not in the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
