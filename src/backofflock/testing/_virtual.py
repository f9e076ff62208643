"""Virtual time for asyncio programs: it jumps ahead whenever all tasks sleep."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack

from .._hosts import Alarm
from ..errors import BackoffLockError

__all__ = ["Deadlock", "VirtualClock"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

RESOLUTION = 1e-9
"""Seconds that asyncio's own clock resolves."""

IN_VAIN = 10_000
"""Jumps in a row to nothing but tries of waiters without a time limit: then it is for ever."""


class Deadlock(BackoffLockError, RuntimeError):
    """Under a `VirtualClock` no task can ever go on, or all that do try for locks in vain.

    Attributes: `now` (virtual seconds), and `tasks`, the names of those that wait.

    >>> print(Deadlock(12.5, ("Task-1", "Task-2"), "no timer is set"))
    deadlock after 12.5 virtual seconds: no timer is set; waiting: Task-1, Task-2
    """

    def __init__(self, now: float, tasks: tuple[str, ...], reason: str) -> None:
        super().__init__(
            f"deadlock after {now:g} virtual seconds: {reason}; waiting: {', '.join(tasks)}"
        )
        self.now = now
        self.tasks = tasks
        self.reason = reason


class VirtualClock:
    """A clock for an asyncio program that jumps to the next timer whenever all tasks sleep.

    An hour of back-off takes milliseconds, and always takes the same course: nothing depends on how
    fast the machine is. It begins at 0. `run` runs one coroutine with it, and `new_event_loop` is a
    loop factory, for `asyncio.run` (from Python 3.12 on), `asyncio.Runner` and anyio. Where nobody
    can ever go on, `Deadlock` is raised.

    Virtual are ``loop.time()`` and all that asyncio, anyio and locks of this package on the loop
    measure by it: sleeps, timeouts, naps, statistics. Not virtual: `time.monotonic`; other threads,
    which it does not wait for (but time stands still while one of ``asyncio.to_thread`` works);
    sockets and subprocesses, over whose silence it jumps; and the leases of distributed locks,
    which end by the clock of the machine: use `no_backoff` with these. Where a task spins, by
    ``asyncio.sleep(0)``, the schedule `Spin` or `no_backoff`, not all sleep: time stands still.

    >>> from backofflock import AcquireTimeout, BackoffLock, Exponential
    >>> clock = VirtualClock()
    >>> lock = BackoffLock(Exponential(1.0, cap=60.0), timeout=3600.0, wake_on_release=False)
    >>> async def hold(seconds):
    ...     async with lock:
    ...         await asyncio.sleep(seconds)
    >>> async def main():
    ...     holder = asyncio.create_task(hold(7200.0))
    ...     await asyncio.sleep(0)
    ...     try:
    ...         await lock.acquire()
    ...     except AcquireTimeout as error:
    ...         print(error.reason, "at", clock.now)
    ...     await holder
    >>> clock.run(main())
    timeout=3600.0 at 3600.0
    >>> clock.now
    7200.0
    """

    def __init__(self) -> None:
        self.now: float = 0.0
        """Virtual seconds since the clock was made."""

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, as `asyncio.run` does, and return what it returns."""
        with asyncio.Runner(loop_factory=self.new_event_loop) as runner:
            return runner.run(main)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Return a new event loop that goes by this clock."""
        return _VirtualLoop(self)


class _VirtualLoop(asyncio.SelectorEventLoop):
    """A loop of asyncio whose time is a virtual clock's."""

    _scheduled: list[asyncio.TimerHandle]
    """The loop's timers, a heap; asyncio has dropped cancelled ones from its front."""

    _clock_resolution: float

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._in_threads = 0
        self._in_vain = 0
        super().__init__(_Selector(self._jump))

    def time(self) -> float:
        """Return virtual seconds."""
        return self._clock.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Do as asyncio does; time stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._thread_is_done)
        return future

    def _thread_is_done(self, _future: object) -> None:
        self._in_threads -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Do as asyncio does, whose thread for it is none of an executor's."""
        self._in_threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._in_threads -= 1

    def _jump(self) -> bool:
        """Set the clock to the next timer; return False if threads have to be waited for."""
        if self._in_threads:
            return False
        clock, timers = self._clock, self._scheduled
        if not timers:
            raise self._deadlock("no timer is set, and nobody is left to wake them")
        clock.now = max(clock.now, timers[0].when())
        # Due is what is due within the resolution, which must not vanish beside a large time.
        self._clock_resolution = max(RESOLUTION, 2 * math.ulp(clock.now))
        if not all(_is_in_vain(timer) for timer in timers):
            self._in_vain = 0
        elif self._in_vain < IN_VAIN:
            self._in_vain += 1
        else:
            raise self._deadlock(f"for {IN_VAIN} times they have tried for locks in vain")
        return True

    def _deadlock(self, reason: str) -> Deadlock:
        waiting = sorted(task.get_name() for task in asyncio.all_tasks(self))
        return Deadlock(self._clock.now, tuple(waiting), reason)


def _is_in_vain(timer: asyncio.TimerHandle) -> bool:
    """Return whether all that a timer may bring about is a try of one that never gives up."""
    if timer.cancelled():
        return True
    alarm = getattr(getattr(timer, "_callback", None), "__self__", None)
    return isinstance(alarm, Alarm) and alarm.is_endless()


class _Selector(selectors.DefaultSelector):
    """Looks for what is ready; where a loop would sleep, it has time jump instead."""

    def __init__(self, jump: Callable[[], bool]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready at once; wait for nothing but threads."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        return ready if self._jump() else super().select(None)
