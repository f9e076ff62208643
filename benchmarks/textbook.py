"""The loops that tutorials write around a lock: try, sleep, try again.

Tutorials sleep for seconds around holds of seconds. Here a hold is a millisecond or less, so that
their one second is `UNIT`; everything else is theirs, the lack of a cap included.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, repeat

__all__ = ["DELAYS", "UNIT", "Textbook"]

UNIT = 0.001
"""Seconds that stand for the second of the tutorials."""


def spin() -> Iterator[float]:
    """Try again at once."""
    return repeat(0.0)


def fixed() -> Iterator[float]:
    """Sleep for the same time after every failed try."""
    return repeat(UNIT)


def drawn_once() -> Iterator[float]:
    """Draw a time once, and sleep for it after every failed try."""
    return repeat(random.uniform(0.0, UNIT))


def linear() -> Iterator[float]:
    """Draw a time once; sleep k times as long before retry k = 0, 1, 2 …"""
    initial = random.uniform(0.0, UNIT)
    return (k * initial for k in count())


def quadratic() -> Iterator[float]:
    """Draw a time once; sleep k * k times as long: what tutorials call exponential."""
    initial = random.uniform(0.0, UNIT)
    return (k**2 * initial for k in count())


def doubling() -> Iterator[float]:
    """Sleep for a random time below a limit that doubles, up to 64 units: the textbooks' own."""
    limit = UNIT
    while True:
        yield random.uniform(0.0, limit)
        limit = min(2 * limit, 64 * UNIT)


DELAYS: dict[str, Callable[[], Iterator[float]]] = {
    "spin": spin,
    "fixed": fixed,
    "random": drawn_once,
    "linear": linear,
    "quadratic": quadratic,
    "doubling": doubling,
}


class Textbook:
    """A `threading.Lock` that threads and tasks of asyncio try again and again."""

    def __init__(self, delays: Callable[[], Iterator[float]]) -> None:
        self._lock = threading.Lock()
        self._delays = delays
        self.failed = 0

    def __enter__(self) -> None:
        failed, delays = 0, self._delays()
        while not self._lock.acquire(blocking=False):
            failed += 1
            if delay := next(delays):
                time.sleep(delay)
        self.failed += failed  # under the lock, so that none is lost

    async def __aenter__(self) -> None:
        failed, delays = 0, self._delays()
        while not self._lock.acquire(blocking=False):
            failed += 1
            await asyncio.sleep(next(delays))
        self.failed += failed

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
