"""Waiting as a trio task. Imported only once trio is running."""

from __future__ import annotations

import time

import trio
from trio.lowlevel import (
    Abort,
    Task,
    current_clock,
    current_task,
    current_trio_token,
    wait_task_rescheduled,
)

from .._waiter import Pledge, Waiter

__all__ = ["TrioWaiter"]


class TrioWaiter(Waiter):
    """A wait of one trio task; create it in the task.

    Its clock is trio's, set to agree with `time.monotonic` when the wait begins: under trio's
    MockClock naps and time limits pass in virtual time, together.
    """

    __slots__ = ("_parked", "_token", "clock", "task")

    def __init__(self, task: Task, window: float) -> None:
        self.task = task
        self.window = window
        self.pledge = Pledge()
        self._token = current_trio_token()
        self._parked = False
        # The clock and not `trio.current_time`: others ask for it in threads of their own, and once
        # more it is asked for where a wait is tidied up after its run.
        seconds = current_clock().current_time
        ahead = seconds() - time.monotonic()
        self.clock = lambda: seconds() - ahead

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    async def nap(self, seconds: float) -> None:
        """Sleep for `seconds` or until woken; a checkpoint, so a cancel ends it."""
        if seconds <= 0.0:
            await trio.lowlevel.checkpoint()
            return
        with trio.CancelScope(deadline=trio.current_time() + seconds):
            self._parked = True
            await wait_task_rescheduled(self._abort)

    def wake(self) -> bool:
        """End the nap, from any thread; return False if the run is over."""
        try:
            # A task runs, so that this is no finalizer or signal handler in the middle of trio's
            # own scheduler, which would lose the task. Nor is it the one that is about to sleep.
            if current_task() is not self.task and current_trio_token() is self._token:
                self._end_nap()
                return True
        except RuntimeError:
            pass  # this thread runs no task of trio
        try:
            self._token.run_sync_soon(self._end_nap)
        except trio.RunFinishedError:
            return False
        return True

    def _end_nap(self) -> None:
        if self._parked:
            self._parked = False
            trio.lowlevel.reschedule(self.task)

    def _abort(self, _raise_cancel: object) -> Abort:
        self._parked = False
        return Abort.SUCCEEDED
