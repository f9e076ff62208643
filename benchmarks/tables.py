"""The samples of a cell as a table: one row a peer, one column a metric."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from .samples import Sample, values_of
from .stats import ratios, spread
from .words import METRICS, figure

__all__ = ["REFERENCE", "cell_table", "cells_of", "table_of"]

REFERENCE = {
    "uncontended/trio": "trio.Lock",
    "uncontended/threads": "threading.Lock",
    "tasks/trio": "trio.Lock",
    "threads": "threading.Lock",
    "mixed": "aiologic.Lock",
    "": "asyncio.Lock",
}
"""The peer that the others of a cell are compared with, by the beginning of the cell's id."""

RATIO = {"uncontended": "entry", "waiters": "drain", "": "throughput"}
"""The metric that is compared."""


def cells_of(samples: Sequence[Sample]) -> list[str]:
    """Return the cells there are samples of, in the order they were measured."""
    return list(dict.fromkeys(sample.cell for sample in samples))


def _first(table: dict[str, str], cell: str) -> str:
    return next(value for start, value in table.items() if cell.startswith(start))


def cell_table(
    samples: Sequence[Sample], cell: str, wanted: Sequence[str] = tuple(METRICS)
) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a cell's table; a figure is the median of the rounds."""
    return table_of(samples, cell, wanted, _first(REFERENCE, cell), _first(RATIO, cell))


def table_of(
    samples: Sequence[Sample], cell: str, wanted: Sequence[str], reference: str, compared: str
) -> tuple[list[str], list[list[str]]]:
    """Return the same; the peers go by their ratio to `reference` in the metric `compared`."""
    values = values_of([sample for sample in samples if sample.cell == cell])
    metrics = [metric for metric in wanted if any(key[2] == metric for key in values)]
    peers = list(dict.fromkeys(peer for _, peer, _ in values))
    base = values.get((cell, reference, compared), {})
    rows: list[tuple[float, list[str]]] = []
    for peer in peers:
        own = values.get((cell, peer, compared), {})
        compare = ratios(own, base)
        row, order = [peer, "-"], float("inf")
        if compare:
            reached = spread(compare)
            row[1] = f"{reached.median:.2f} ({reached.low:.2f} to {reached.high:.2f})"
            order = reached.median if compared != "throughput" else -reached.median
        for metric in metrics:
            found = values.get((cell, peer, metric))
            row.append(figure(metric, median(found.values())) if found else "-")
        rows.append((order, [*row, str(len(own))]))
    rows.sort(key=lambda row: row[0])
    title = f"{compared} ÷ {reference}"
    return ["peer", title, *metrics, "rounds"], [row for _, row in rows]
