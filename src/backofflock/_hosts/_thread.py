"""Waiting as a plain thread."""

from __future__ import annotations

import threading
import time
from _thread import allocate_lock

from .._waiter import Pledge, Waiter

__all__ = ["ThreadWaiter"]


class ThreadWaiter(Waiter):
    """A wait of one thread; create it in the thread."""

    __slots__ = ("_gate",)

    def __init__(self, window: float) -> None:
        self.window = window
        self.pledge = Pledge()
        self._gate = allocate_lock()  # taken while there is nothing to wake up for
        self._gate.acquire()

    @property
    def name(self) -> str:
        """The thread's name."""
        return threading.current_thread().name

    clock = staticmethod(time.monotonic)

    def nap(self, seconds: float) -> None:
        """Sleep for `seconds` or until woken; signals are handled meanwhile."""
        if seconds <= 0.0:
            time.sleep(0)
        else:
            self._gate.acquire(True, min(seconds, threading.TIMEOUT_MAX))

    def wake(self) -> bool:
        """End the nap, from any thread; a wake-up before the nap ends it at once."""
        try:
            self._gate.release()
        except RuntimeError:
            pass  # an earlier wake-up has not been used yet
        return True
