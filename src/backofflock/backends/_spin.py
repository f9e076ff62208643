"""To spin for an answer: to look for it again and again for a moment, before one sleeps for it.

To be put to sleep and woken alone takes some 40 µs a request on a small machine, which is longer
than a server on the same machine takes. Others run meanwhile: tasks, threads and processes. The
next answer is spun for if the last one `came_from_nearby`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic

__all__ = ["Awake", "came_from_nearby", "spin", "spin_in_task"]

SPIN = 0.0001
"""Seconds to look for an answer."""

NEAR = 0.00015
"""Seconds within which an answer is slept for that a `SPIN` would have found."""

yield_processor: Callable[[], None] = getattr(os, "sched_yield", partial(time.sleep, 0))
"""Lets another process run, if one waits for this processor: the server, maybe."""


def came_from_nearby(seconds: float, *, spun: bool) -> bool:
    """Return whether an answer that took some seconds was found by a spin, or would have been.

    >>> came_from_nearby(0.00012, spun=False), came_from_nearby(0.00012, spun=True)
    (True, False)
    """
    return seconds < (SPIN if spun else NEAR)


def spin(is_there: Callable[[], object], seconds: float = inf) -> bool:
    """Look for something, for some seconds and for `SPIN` at the most; return whether it is there.

    >>> spin(lambda: True), spin(lambda: False)
    (True, False)
    """
    until = monotonic() + min(seconds, SPIN)
    while not is_there():
        if monotonic() >= until:
            return False
        yield_processor()
    return True


async def spin_in_task(is_there: Callable[[], object], seconds: float = inf) -> bool:
    """Do what `spin` does in a task of asyncio."""
    until = monotonic() + min(seconds, SPIN)
    while not is_there():
        if monotonic() >= until:
            return False
        yield_processor()
        await asyncio.sleep(0)
    return True


class Awake:
    """A context in which the event loop of asyncio that runs does not sleep, for `SPIN` at most.

    That is for a task that awaits what the loop itself reads.
    """

    __slots__ = ("_loop", "_until")

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = monotonic() + SPIN
        self._loop.call_soon(self._turn)

    def __exit__(self, *_: object) -> None:
        self._until = -inf

    def _turn(self) -> None:
        if monotonic() < self._until:
            yield_processor()
            self._loop.call_soon(self._turn)
