"""A virtual clock: events on a heap, and time that jumps from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any

__all__ = ["Timeline"]


class Timeline:
    """Seconds that pass as fast as the events between them can be carried out.

    >>> line = Timeline()
    >>> line.at(3600.0, print, "an hour later")
    1
    >>> line.at(60.0, print, "a minute later")
    2
    >>> line.run()
    a minute later
    an hour later
    True
    >>> line.now
    3600.0
    """

    __slots__ = ("_heap", "_serials", "now", "serial")

    def __init__(self) -> None:
        self.now = 0.0
        """Virtual seconds since the beginning."""
        self.serial = 0
        """Number of the event that is being carried out, from 1."""
        self._heap: list[tuple[float, int, Callable[[Any], object], Any]] = []
        self._serials = 0

    def at(self, when: float, act: Callable[[Any], object], argument: Any) -> int:
        """Have ``act(argument)`` called at `when`; return the number of the event.

        Events of one time come in the order in which they were asked for. None is taken back: what
        is called can tell by `serial` whether the event is still meant.
        """
        self._serials = serial = self._serials + 1
        heappush(self._heap, (when, serial, act, argument))
        return serial

    def run(self, until: float = inf, most: int = 1_000_000_000) -> bool:
        """Carry out the events up to the time `until`, `most` of them at the most.

        Returns whether that is all: no event up to `until` is left. Then it is `until`, unless that
        is infinite.
        """
        heap, pop = self._heap, heappop
        for _ in range(most):
            if not heap or heap[0][0] > until:
                if until != inf:
                    self.now = until
                return True
            self.now, self.serial, act, argument = pop(heap)
            act(argument)
        return False
