"""Waits and holds in the log, by the standard library's `logging`."""

from __future__ import annotations

import logging
from dataclasses import asdict

from .._checks import Duration
from ..events import LockEvent
from ._logs import LogListener

__all__ = ["LoggingListener"]


class LoggingListener(LogListener):
    """Writes a log record for each wait and hold.

    A wait that timed out or failed, and a lost lease, are warnings; everything else has `level`,
    and is left out if it took less than `slow` seconds (or a timedelta), or with None always. The
    fields of the `LockEvent` are attributes of the record, for formatters and filters. Raises
    ValueError or TypeError for what is no duration.

    >>> import logging, sys
    >>> from backofflock import ThreadBackoffLock, instrument
    >>> logger = logging.getLogger("locks")
    >>> logger.addHandler(logging.StreamHandler(sys.stdout))
    >>> lock = ThreadBackoffLock(max_attempts=1, name="orders")
    >>> with instrument(LoggingListener(logger, slow=0.5)), lock:
    ...     lock.acquire()  # doctest: +ELLIPSIS
    MainThread waited ... s for orders: timeout, 1 attempt
    False
    """

    def __init__(
        self,
        logger: logging.Logger | str = "backofflock.events",
        *,
        level: int = logging.DEBUG,
        slow: Duration | None = 0.0,
    ) -> None:
        super().__init__(level, slow)
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger

    def _write(self, level: int, event: LockEvent) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, extra=asdict(event))
