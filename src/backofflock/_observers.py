"""Who is told of the naps of a wait: a lock's own hook, the log, and what tests listen with."""

from __future__ import annotations

import logging
from dataclasses import fields
from logging import DEBUG

from ._contention import Observer
from ._naps import NAPS
from .records import WaitDetails

__all__ = ["is_logged", "observer"]

logger = logging.getLogger("backofflock")
logger.addHandler(logging.NullHandler())

is_logged = logger.isEnabledFor
"""Returns whether messages of a level are wanted."""


def observer(on_wait: Observer | None) -> Observer | None:
    """Return what is to be told of each nap of a wait that begins: `on_wait`, and who listens."""
    if not (NAPS.observers or is_logged(DEBUG)):
        return on_wait
    told = [begin() for begin in NAPS.observers]
    if is_logged(DEBUG):
        told.append(_log)
    if on_wait is not None:
        told.append(on_wait)  # last: it may raise

    def tell(details: WaitDetails) -> None:
        for observe in told:
            observe(details)

    return tell


def _log(details: WaitDetails) -> None:
    extra = {field.name: getattr(details, field.name) for field in fields(details)}
    logger.debug("%s", details, extra=extra)
