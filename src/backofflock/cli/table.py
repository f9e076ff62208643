"""The summary: one row per system."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from .contest import Result

__all__ = ["summary"]

_WIDE = 106
"""Columns of a terminal from which on there is room for the lock of each row."""

_COLUMNS: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("got\nit", lambda result: f"{result.acquisitions}"),
    ("gave\nup", lambda result: f"{result.gave_up}"),
    ("attempts\n", lambda result: f"{result.attempts:,}"),
    ("waits,\nsum s", lambda result: f"{result.total_wait:.2f}"),
    ("longest\nwait s", lambda result: f"{result.longest_wait:.3f}"),
    ("free but\nwanted s", lambda result: f"{result.free_while_waited:.3f}"),
    ("CPU\ns", lambda result: f"{result.cpu:.2f}"),
    ("loop\nlate ms", lambda result: f"{1000 * result.loop_delay:.1f}"),
)

_LEGEND = (
    "Waits are those of threads and tasks, of those that gave up too. Free but wanted: nobody held "
    "the lock though somebody waited for it. Loop late: the worst delay of the tasks' event loop."
)


def summary(results: Sequence[Result], console: Console) -> Iterator[RenderableType]:
    """Yield the table of `results` and its legend, for the width of `console`."""
    wide = console.width >= _WIDE
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.add_column("system\n", no_wrap=True)
    if wide:
        table.add_column("lock or schedule\n", no_wrap=True)
    for heading, _ in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True, overflow="crop")
    for result in results:
        cells = [cell(result) for _, cell in _COLUMNS]
        names = [result.system.name, result.system.form] if wide else [result.system.name]
        table.add_row(*(Text(cell, overflow="crop") for cell in [*names, *cells]))
    yield table
    yield Text(_LEGEND)
