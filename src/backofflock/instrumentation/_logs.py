"""What listeners that write logs share."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

from .._checks import Duration
from ..events import LockEvent
from ._shared import at_least

__all__ = ["LogListener"]


class LogListener(ABC):
    """Picks the events that are worth a line, and the level of each."""

    def __init__(self, level: int, slow: Duration | None) -> None:
        self._level = level
        self._slow = at_least(slow)

    def __call__(self, event: LockEvent) -> None:
        """Write a line for an event: a warning if it failed."""
        if event.failed:
            self._write(logging.WARNING, event)
        elif event.seconds >= self._slow:
            self._write(self._level, event)

    @abstractmethod
    def _write(self, level: int, event: LockEvent) -> None: ...
