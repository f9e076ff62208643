"""Waiting as a plain thread."""

from __future__ import annotations

import threading
import time
from _thread import allocate_lock

from .._waiter import Pledge, Waiter

__all__ = ["ThreadWaiter", "give_way"]


def give_way() -> None:
    """Sleep as briefly as the machine can, so that a thread can run that has just been woken.

    It needs the GIL, and what this thread would do next keeps it from it. Of 32 threads that sleep
    for 200 us under the lock, it takes those that queue at once 1 % longer than a `threading.Lock`,
    and those that give way 1 % less. Where 4 threads and 4 tasks hold a lock for 1 ms, a thread
    follows on a thread after 18 instead of 28 us. The price: who then waits for the GIL is not in
    the queue yet, so that of 8 threads with an empty section the longest wait is 99 instead of
    55 ms; and CPU, 84 instead of 75 us an acquisition for those 4 and 4 (medians of 9 to 27 samples
    on CPython 3.12). To see it again: ``python -m benchmarks --only threads/32/io --only
    threads/8/empty --only mixed/4+4/1ms --only threading.Lock --only ThreadBackoffLock --only
    'ThreadBackoffLock(queues at once)'``.
    """
    time.sleep(1e-6)


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
