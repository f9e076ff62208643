"""Waits and holds in the log, by structlog."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from .._checks import Duration
from ..events import LockEvent
from ._logs import LogListener
from ._shared import needing

with needing("structlog", "structlog"):
    import structlog

__all__ = ["StructlogListener"]


class StructlogListener(LogListener):
    """Writes ``lock wait`` or ``lock hold`` with the fields of each `LockEvent`.

    `logger` is one of structlog, by default ``structlog.get_logger("backofflock")``. A wait that
    timed out or failed, and a lost lease, are warnings; everything else has `level`, a number of
    `logging`, and is left out if it took less than `slow` seconds (or a timedelta), or with None
    always.

    >>> from structlog.testing import capture_logs
    >>> from backofflock import ThreadBackoffLock, instrument
    >>> with capture_logs() as logs, instrument(StructlogListener()):
    ...     with ThreadBackoffLock(name="orders"):
    ...         pass
    >>> logs[0]["event"], logs[0]["lock"], logs[0]["outcome"], logs[0]["log_level"]
    ('lock hold', 'orders', 'released', 'debug')
    """

    def __init__(
        self, logger: Any = None, *, level: int = logging.DEBUG, slow: Duration | None = 0.0
    ) -> None:
        super().__init__(level, slow)
        self._logger: Any = structlog.get_logger("backofflock") if logger is None else logger

    def _write(self, level: int, event: LockEvent) -> None:
        fields = {name: value for name, value in asdict(event).items() if value is not None}
        self._logger.log(level, f"lock {fields.pop('kind')}", **fields)
