"""Event loops that take a step only when told to, in time that passes only when told to."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any
from unittest.mock import patch

from backofflock._hosts._asyncio import AsyncioWaiter

__all__ = ["REST", "Clock", "HandLoop", "virtual_time"]

REST = 6.0
"""What `REST` is here: longer than a nap, so that both are seen at work."""


class Clock:
    """Whole seconds that pass when a world says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def virtual_time(clock: Clock) -> Iterator[None]:
    """Have the host read `clock`."""
    with (
        patch.multiple("backofflock._hosts._asyncio", REST=REST, monotonic=clock),
        patch("backofflock._contention.REST", REST),
        patch.object(AsyncioWaiter, "clock", staticmethod(clock)),
    ):
        yield


class HandLoop(asyncio.AbstractEventLoop):
    """A loop for real tasks and futures that runs one callback at a time, by hand.

    What other threads have it call stands in `posted` until it is delivered, or lost.
    """

    def __init__(self, clock: Clock, name: str) -> None:
        self.name = name
        self.ready: deque[asyncio.Handle] = deque()
        self.posted: deque[asyncio.Handle] = deque()
        self.timers: list[asyncio.TimerHandle] = []
        self.closed = False
        self.blocked = False
        """It takes no step any more, and nobody can tell."""
        self._clock = clock

    @property
    def alive(self) -> bool:
        return not self.closed and not self.blocked

    def due(self) -> list[asyncio.TimerHandle]:
        """Return the timers whose time has come."""
        return [timer for timer in self.timers if timer.when() <= self._clock.now]

    @property
    def runnable(self) -> bool:
        """Whether it can take a step now."""
        return self.alive and bool(self.ready or self.due())

    def step(self) -> None:
        """Run the next callback."""
        for timer in sorted(self.due(), key=asyncio.TimerHandle.when):
            self.timers.remove(timer)
            self.ready.append(timer)
        handle = self.ready.popleft()
        if not handle.cancelled():
            self.run(handle._run)

    def run(self, function: Callable[[], object]) -> None:
        """Call `function` as a callback of this loop would be."""
        events._set_running_loop(self)
        try:
            function()
        finally:
            events._set_running_loop(None)

    # -- what asyncio asks of a loop ---------------------------------------------------------------

    def time(self) -> float:
        return self._clock.now

    def is_closed(self) -> bool:
        return self.closed

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def get_debug(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        handle = asyncio.Handle(callback, args, self, context)
        self.posted.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(self._clock.now + delay, callback, args, self, context)
        self.timers.append(timer)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if handle in self.timers:
            self.timers.remove(handle)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Worlds are dropped in the middle: tasks that are destroyed pending are no news."""
