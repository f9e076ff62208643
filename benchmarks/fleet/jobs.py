"""What the suite and its workers say to each other.

For each sample: the suite sends a `Job`, the worker sets up and answers `READY`; the suite sends a
`Window`, the worker contends for so long and answers with a `FleetTally`; the suite sends `CLOSE`,
and only then the worker ends its connections and answers `READY`. So the suite can read what a
server has counted before and after, with nothing in between but the acquisitions. A worker that
fails answers `Failed` instead, whenever it does.
"""

from __future__ import annotations

from dataclasses import dataclass

from .cells import FleetCell

__all__ = ["CLOSE", "READY", "Failed", "Job", "Window"]

READY = "ready"
CLOSE = "close"


@dataclass(frozen=True)
class Job:
    """What one worker is to do in a sample."""

    peer: str
    cell: FleetCell
    url: str
    """Of the server."""
    lock: str
    """Name of the lock: another one in each sample."""
    contenders: int
    """How many of the cell's contenders are this worker's."""


@dataclass(frozen=True)
class Window:
    """When a sample begins and ends, by the monotonic clock that all processes share."""

    begin: float
    end: float


@dataclass(frozen=True)
class Failed:
    """A worker could not go on, for this reason."""

    reason: str
