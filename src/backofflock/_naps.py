"""What tests may change about the naps of all locks of this process; see `backofflock.testing`.

Read on the slow path alone: `observers` once a wait, `skipping` once a nap. Each is one reference
that is replaced as a whole, by those who have the mutex of `backofflock.testing`; a wait or a nap
that has begun goes on as it began.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._contention import Observer

__all__ = ["NAPS", "Naps"]


class Naps:
    """How the naps of this process are slept, and who hears of them."""

    __slots__ = ("observers", "skipping")

    def __init__(self) -> None:
        self.skipping = 0
        """How many want all naps to be of 0 seconds."""
        self.observers: tuple[Callable[[], Observer], ...] = ()
        """Called as a wait begins; what they return is told of each of its naps."""

    def slept(self, seconds: float) -> float:
        """Return how much of a nap is slept."""
        return 0.0 if self.skipping else seconds


NAPS = Naps()
