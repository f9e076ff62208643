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
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from time import monotonic

__all__ = ["Alarm", "LoopAlarms", "ThreadAlarms", "alarms_of", "thread_alarms"]

FEW = 64
"""So many alarms may lie in a heap before it is looked through for those that are cancelled."""


class Alarm:
    """A function that is to be called, unless it is cancelled before."""

    __slots__ = ("act",)

    def __init__(self, act: Callable[[], object]) -> None:
        self.act: Callable[[], object] | None = act

    def cancel(self) -> None:
        """Do not call it."""
        self.act = None

    def ring(self) -> None:
        """Call it, if it has not been cancelled."""
        act = self.act
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

    def _add(self, when: float, act: Callable[[], object]) -> Alarm:
        alarm = Alarm(act)
        heappush(self._heap, (when, self._number(), alarm))
        if len(self._heap) > self._purge_at:
            self._heap = [entry for entry in self._heap if entry[2].act is not None]
            heapify(self._heap)
            self._purge_at = max(FEW, 2 * len(self._heap))
        return alarm

    def _pop_due(self, now: float) -> list[Alarm]:
        """Return those that are due, and note when to look next.

        The cancelled are dropped only behind one that is due: if the last one went as soon as it is
        cancelled, every new one would be the first, and have to move the time.
        """
        heap, due = self._heap, list[Alarm]()
        while heap and (heap[0][0] <= now or (due and heap[0][2].act is None)):
            due.append(heappop(heap)[2])
        self._rings_at = heap[0][0] if heap else inf
        return due


class LoopAlarms(_Alarms):
    """The alarms of an event loop of asyncio, in its time. Only its thread uses them."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self._timer: TimerHandle | None = None

    def call_later(self, seconds: float, act: Callable[[], object]) -> Alarm:
        """Call `act` after some seconds."""
        when = self.loop.time() + seconds
        alarm = self._add(when, act)
        if when < self._rings_at:
            self._ring_at(when)
        return alarm

    def _ring_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = self.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        for alarm in self._pop_due(self.loop.time()):
            self.loop.call_soon(alarm.ring)  # each by itself: it may fail
        if self._rings_at < inf:
            self._ring_at(self._rings_at)


class ThreadAlarms(_Alarms):
    """The alarms of all threads of this process, and the thread that waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self._mutex = threading.Lock()
        self._unchanged = threading.Lock()
        """Taken while there is nothing to look at before `_rings_at`."""
        self._unchanged.acquire()
        threading.Thread(target=self._run, name="backofflock leases", daemon=True).start()

    def call_at(self, when: float, act: Callable[[], object]) -> Alarm:
        """Call `act`, which must return at once, at a time of `time.monotonic`."""
        with self._mutex:
            alarm = self._add(when, act)
            if when < self._rings_at:
                # In this order: an interrupt in between costs its thread a look, and no alarm.
                if self._unchanged.locked():
                    self._unchanged.release()
                self._rings_at = when
        return alarm

    def _run(self) -> None:
        while True:
            with self._mutex:
                due = self._pop_due(monotonic())
            for alarm in due:
                try:
                    alarm.ring()
                except Exception:  # of somebody's logging handler, say
                    traceback.print_exc()
            left = self._rings_at - monotonic()  # it may move: then the wait is over at once
            self._unchanged.acquire(timeout=min(max(left, 0.0), threading.TIMEOUT_MAX))


class _Here(threading.local):
    """What belongs to a thread."""

    alarms: LoopAlarms | None = None
    """Those of the event loop that it ran last."""


_here = _Here()
_threads: ThreadAlarms | None = None
_starting = threading.Lock()


def alarms_of(loop: AbstractEventLoop) -> LoopAlarms:
    """Return the alarms of the running event loop; of one that ran before others, new ones."""
    alarms = _here.alarms
    if alarms is None or alarms.loop is not loop:
        alarms = _here.alarms = LoopAlarms(loop)
    return alarms


def thread_alarms() -> ThreadAlarms:
    """Return the alarms of this process's threads, whose own is started when first needed."""
    global _threads
    alarms = _threads
    if alarms is None:
        with _starting:
            alarms = _threads
            if alarms is None:
                alarms = _threads = ThreadAlarms()
    return alarms


def _after_fork() -> None:
    global _threads
    _threads = None  # the thread that waits is not in the child
    _starting._at_fork_reinit()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
