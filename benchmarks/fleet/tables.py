"""The samples of a cell as a table: one row a peer, one column a metric."""

from __future__ import annotations

from collections.abc import Sequence

from ..samples import Sample
from ..tables import table_of
from .bars import FILELOCK, PLAIN, REDIS_PY
from .words import SHORT

__all__ = ["cell_table", "reference_of"]


def reference_of(cell: str) -> str:
    """Return the peer that the others of a cell are compared with."""
    backend, kind, who = cell.split("/")[:3]
    if backend == "file":
        return FILELOCK[kind]
    if who == "uncontended":
        return PLAIN[f"{backend}/{kind}"]
    return REDIS_PY[kind] if backend == "redis" else "pg_try_advisory_lock loop"


def cell_table(samples: Sequence[Sample], cell: str) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a cell's table; a figure is the median of the rounds."""
    compared = "entry" if cell.endswith("/uncontended") else "throughput"
    return table_of(samples, cell, SHORT, reference_of(cell), compared)
