"""What blocks, made to give the turn away instead: a thread's gate, an event loop's ``select()``.

All else is real: the threads, `ThreadWaiter` over its gate, and asyncio's own event loop with the
socket by which ``call_soon_threadsafe`` wakes it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from math import inf
from typing import TYPE_CHECKING, Any

from .points import TIME

if TYPE_CHECKING:
    from .scheduler import Stage

__all__ = ["Gate", "in_loop"]


class Gate:
    """The lock on which a `ThreadWaiter` naps."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._is_taken = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, at once or after a nap."""
        if self._is_taken and blocking:
            self._stage.nap(inf if timeout < 0 else timeout, self._is_free)
        if self._is_taken:
            return False
        self._is_taken = True
        return True

    def release(self) -> None:
        """Free it."""
        if not self._is_taken:
            raise RuntimeError("release unlocked lock")
        self._is_taken = False

    def _is_free(self) -> bool:
        return not self._is_taken


class StageSelector(selectors.DefaultSelector):
    """A selector that gives the turn away where it would block."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, at once or after a nap."""
        self._stage.step(TIME, True)
        if timeout is None or timeout > 0:
            self._stage.nap(inf if timeout is None else timeout, self._has_news)
        return super().select(0)

    def _has_news(self) -> bool:
        return bool(super().select(0))


class StageLoop(asyncio.SelectorEventLoop):
    """asyncio's own event loop, on the clock of a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        super().__init__(StageSelector(stage))

    def time(self) -> float:
        """Return the seconds of the stage's clock."""
        return self._stage.now


def in_loop(stage: Stage, main: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run `main` on an event loop of its own in this thread."""
    run = stage.run

    def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not run.called_off:
            run.complain(f"the event loop says: {context.get('exception', context['message'])!r}")

    loop = StageLoop(stage)
    loop.set_exception_handler(complain)
    try:
        loop.run_until_complete(main())
    finally:
        for task in asyncio.all_tasks(loop):  # it was called off, or another task has failed
            if (coroutine := task.get_coro()) is not None:
                coroutine.close()
        loop.close()
