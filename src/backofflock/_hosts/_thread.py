"""Waiting as a plain thread."""

from __future__ import annotations

import threading
import time
from _thread import allocate_lock

from .._waiter import Pledge, Waiter

__all__ = ["ThreadWaiter", "give_way"]


GIVES_WAY = 0.0001
"""Seconds a thread sleeps to let another run.

By the end the other should be at work and the GIL free: an event loop that goes to sleep while this
thread waits for the GIL has to wake it first, and its own sleep ends later. But the longer this
thread sleeps, the sooner the queue is empty. With 0 (queueing at once), 1, 100 and 200 us a
thread and a task that hold the lock for 1 ms reached 1.01, 0.99, 1.02 and 1.03 of aiologic's
throughput, and 32 threads that sleep for 200 us under it 1.00, 1.03, 1.03 and 1.00 of
`threading.Lock`'s. The price of giving way: who then waits for the GIL is not in the queue yet, so
that of 8 threads with an empty section the longest wait was 53, 114, 99 and 100 ms (medians of 12
rounds on CPython 3.12). To see it again: ``python -m benchmarks --only mixed/1+1/1ms --only
threads/32/io --only threads/8/empty --only threading.Lock --only aiologic.Lock --only
ThreadBackoffLock --only 'ThreadBackoffLock(queues at once)' --only 'ThreadBackoffLock(gives*)'``.
"""


def give_way() -> None:
    """Sleep for a moment, so that a thread can run that has just been woken.

    It needs the GIL, and what this thread would do next keeps it from it.
    """
    time.sleep(GIVES_WAY)


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
