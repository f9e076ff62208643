"""Waiting as an asyncio task: any loop, uvloop and eager tasks included."""

from __future__ import annotations

import asyncio
import sys
from asyncio import AbstractEventLoop, BaseEventLoop, Future, Task, _get_running_loop
from collections import deque
from collections.abc import Awaitable, Callable
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic
from typing import Any, TypeVar, cast

from .._waiter import NEVER, REST, Pledge, Waiter
from ._doorbell import post_of

if sys.version_info >= (3, 12):
    from asyncio import current_task
else:
    _task_on: Callable[[AbstractEventLoop | None], Task[Any] | None]
    _task_on = vars(asyncio.tasks)["_current_tasks"].get

    def current_task() -> Task[Any] | None:
        """Return the running task: asyncio's own function is slow, and in C only from 3.12 on.

        Where no loop runs this is None, and no RuntimeError.
        """
        return _task_on(_get_running_loop())


__all__ = ["Alarm", "Alarms", "AsyncioWaiter", "current_task", "finish"]

T = TypeVar("T")

_MONOTONIC = BaseEventLoop.time


class AsyncioWaiter(Waiter):
    """A wait of one asyncio task; create it in the task.

    Its pledge is the loop's, unless the task's own code decides when to try.
    """

    __slots__ = ("_nap", "alarm", "task")

    is_watched = True

    def __init__(self, task: Task[Any], window: float, alarm: Alarm) -> None:
        self.task = task
        self.window = window
        self.alarm = alarm
        self.pledge = alarm
        self._nap: Future[None] | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.get_name()

    clock = staticmethod(monotonic)  # of most loops: see LoopTimeWaiter

    def promise(self, when: float) -> None:
        """Promise to try at `when`; the loop keeps its own promise, by its alarm."""
        if self.pledge is not self.alarm:
            self.pledge.promise = when

    def nap(self, seconds: float) -> Awaitable[None]:
        """Sleep for `seconds` or until woken; a cancel ends it with CancelledError."""
        if seconds <= 0.0 or self.woken_at != NEVER:
            return asyncio.sleep(0)
        alarm = self.alarm
        nap: Future[None] = Future(loop=alarm.loop)
        self._nap = nap
        if seconds != NEVER:
            alarm.set(nap, seconds)
        if self.resting and not alarm.watches:
            alarm.watch()
        return nap

    def wake(self) -> bool:
        """End the nap, from any thread; return False if the loop is closed."""
        alarm = self.alarm
        if _get_running_loop() is alarm.loop:
            nap = self._nap
            if nap is not None and not nap.done():
                nap.set_result(None)
            return True
        if self.gone():
            return False
        try:
            alarm.post(self.go_on)
        except (RuntimeError, ValueError):
            return False  # it was closed just now, or is garbage as this is
        return True

    def gone(self) -> bool:
        """Return whether the loop is closed."""
        return self.alarm.loop.is_closed()

    def end_nap(self) -> None:
        """End the nap, in the thread of the loop."""
        nap = self._nap
        if nap is not None and not nap.done():
            nap.set_result(None)

    def go_on(self) -> None:
        """End the nap, as a callback of the loop, and run the task in its place.

        Between a thread that leaves the lock and the task that gets it, another turn of the loop
        would be nearly half of the time.
        """
        if self._nap is not None:
            finish(self._nap, None)


def finish(future: Future[T], result: T) -> None:
    """Set the result of a future, as a callback of its loop, and run what waits for it here.

    By itself a future calls it back in the next turn of the loop. One that has a result, or was
    cancelled, stays as it is.
    """
    if future.done():
        return
    callbacks = getattr(future, "_callbacks", None)  # CPython's, which may go some day
    if not callbacks or len(callbacks) > 1:
        future.set_result(result)
        return
    ((step, context),) = callbacks
    has_begun = False
    try:
        future.remove_done_callback(step)
        future.set_result(result)
        has_begun = True
        context.run(step, future)
    except BaseException:
        if not has_begun:  # interrupted: without this nothing would ever wake the task
            if not future.done():
                future.set_result(result)
            future.get_loop().call_soon(step, future, context=context)
        raise


class LoopTimeWaiter(AsyncioWaiter):
    """A wait on a loop with a time of its own: its naps and time limits pass in that time."""

    __slots__ = ()

    def clock(self) -> float:
        """Return the loop's seconds."""
        return self.alarm.clock()


class Alarm(Pledge):
    """The one timer of a lock's waiters on a loop, and their pledge: it promises to ring.

    It ends the naps that are over, and the rest of the first of its waiters in the queue if that is
    still the one it was `REST` ago. Most naps are cut short by a wake-up: to arm and cancel a
    timer for each would cost more than all the rest of the wait; here a nap costs a place in a
    heap, which is left to go stale, and a rest nothing.
    """

    __slots__ = (
        "_alarms",
        "_heap",
        "_purge_at",
        "_queue",
        "_rings_at",
        "_serial",
        "_timer",
        "_watched",
        "clock",
        "loop",
        "post",
        "waiter",
        "watches",
    )

    def __init__(self, loop: AbstractEventLoop, alarms: Alarms, queue: deque[Waiter]) -> None:
        super().__init__()
        self.loop = loop
        has_own_time = isinstance(loop, BaseEventLoop) and type(loop).time is not _MONOTONIC
        self.clock: Callable[[], float] = loop.time if has_own_time else monotonic
        """Seconds as the loop counts them; a test may have them jump."""
        self.waiter = LoopTimeWaiter if has_own_time else AsyncioWaiter
        """What waits by this alarm."""
        self.post = post_of(loop)
        """Has the loop call something, from any thread."""
        self.promise = self.clock()
        self.watches = False
        self._alarms = alarms
        self._queue = queue
        self._heap: list[tuple[float, int, Future[None]]] = []
        self._serial = count().__next__  # two naps may end at the same time
        self._purge_at = 64
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = NEVER
        self._watched = -1

    def new_waiter(self, task: Task[Any], window: float) -> AsyncioWaiter:
        """Return a new waiter for the running task, which this alarm vouches for."""
        return self.waiter(task, window, self)

    def set(self, nap: Future[None], seconds: float) -> None:
        """End `nap` after `seconds`."""
        now = self.clock()
        heappush(self._heap, (now + seconds, self._serial(), nap))
        self._ring_by(now + seconds, now)
        if len(self._heap) >= self._purge_at:
            self._heap = [entry for entry in self._heap if not entry[2].done()]
            heapify(self._heap)
            self._purge_at = max(64, 4 * len(self._heap))

    def watch(self) -> None:
        """Ring within `REST`, and look after those who rest."""
        self.watches = True
        now = self.clock()
        self._ring_by(now + REST, now)

    def _ring_by(self, when: float, now: float) -> None:
        # Not by the promise: that is a waker's to renew as well.
        if self._timer is None or when < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self.promise = self._rings_at = when
            self._timer = self.loop.call_later(when - now, self._ring)

    def _ring(self) -> None:
        now = self.clock()
        heap = self._heap
        while heap and (heap[0][0] <= now or heap[0][2].done()):
            nap = heappop(heap)[2]
            if not nap.done():
                nap.set_result(None)
        self._timer = None
        first = self.first()
        if first is None:
            self.watches = False
        elif self.watches or not heap:  # whose nap has just ended may nap again, by this alarm
            if first.resting and first.ticket == self._watched:
                first.end_nap()  # no progress since the last time
            self._watched = first.ticket
            self._ring_by(now + REST, now)
        if heap:
            self._ring_by(heap[0][0], now)
        if self._timer is None and self._alarms.get(self.loop) is self:
            del self._alarms[self.loop]

    def is_endless(self) -> bool:
        """Return whether none of the waiters on its loop has a time limit."""
        ours = (w for w in tuple(self._queue) if isinstance(w, AsyncioWaiter) and w.alarm is self)
        return all(waiter.deadline == NEVER for waiter in ours)

    def first(self) -> AsyncioWaiter | None:
        """Return the first in the queue that this alarm vouches for."""
        queue, place = self._queue, 0
        try:
            while (waiter := queue[place]).pledge is not self:
                place += 1
        except IndexError:
            return None
        return cast("AsyncioWaiter", waiter)


class Alarms(dict[AbstractEventLoop, Alarm]):
    """The alarms of one lock, by loop; where one is asked for first, it is made."""

    __slots__ = ("_queue",)

    def __init__(self, queue: deque[Waiter]) -> None:
        self._queue = queue

    def __missing__(self, loop: AbstractEventLoop) -> Alarm:
        for other in list(self):
            if other.is_closed():
                self.pop(other, None)
        alarm = self[loop] = Alarm(loop, self, self._queue)
        return alarm
