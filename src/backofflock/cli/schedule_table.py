"""Curves as text: a legend, and the figures side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from .curves import DRAWS, Band, Curve

__all__ = ["STYLES", "figures", "keyed", "legend", "seconds", "told"]

STYLES = ("cyan", "yellow", "magenta", "green", "red", "blue", "bright_cyan", "bright_yellow")
"""The colours of the schedules; there can be no more of these than of those."""

_EDGES = 4
"""Columns of a terminal that a table takes besides its cells."""


def keyed(curves: Sequence[Curve]) -> Iterator[tuple[str, str, Curve]]:
    """Yield each curve with its letter, by which table and chart name it, and its colour."""
    return zip("ABCDEFGH"[: len(curves)], STYLES[: len(curves)], curves, strict=True)


def legend(curves: Sequence[Curve]) -> Iterator[Text]:
    """Yield a line for each schedule: its letter, its text, and how it ends."""
    for letter, style, curve in keyed(curves):
        yield Text.assemble((letter, f"bold {style}"), f"  {told(curve)}")
    if any(curve.random for curve in curves):
        yield Text(f"5 %, 50 %, 95 %: so many of {DRAWS:,} random acquisitions sleep less.")


def told(curve: Curve) -> str:
    """Return the text of a schedule, and how it ends if it does."""
    count = f"{len(curve.delays)} {'retry' if len(curve.delays) == 1 else 'retries'}"
    if not curve.gives_up:
        return f"{curve.schedule}"
    if curve.goes_on:
        return f"{curve.schedule} (gives up after more than {count})"
    if not curve.delays:
        return f"{curve.schedule} (gives up after the first try)"
    least, _, most = (seconds(time) for time in curve.waits[-1])
    after = least if least == most else f"{least} to {most}"
    return f"{curve.schedule} (gives up after {count}, {after} s)"


def seconds(time: float) -> str:
    """Return a single time with as many digits as one reads."""
    return f"{time:.3g}"


def figures(
    curves: Sequence[Curve], bands: Sequence[Sequence[Band]], console: Console
) -> Iterator[RenderableType]:
    """Yield tables of `bands`, one for each curve, as many side by side as there is room for."""
    rows = max(len(curve.delays) + curve.ends_here for curve in curves)
    groups: list[list[list[tuple[str, list[str]]]]] = []
    room = 0
    for (letter, _, curve), band in zip(keyed(curves), bands, strict=True):
        columns = _columns(letter, curve, band)
        width = sum(max(map(len, [title, *cells])) + 2 for title, cells in columns)
        if width > room:
            groups.append([])
            room = console.width - _EDGES - len("retry")
        room -= width
        groups[-1].append(columns)
    for group in groups:
        yield _table([column for columns in group for column in columns], rows, console)
        if console.options.ascii_only:
            yield Text()  # the others end in such a line


def _columns(letter: str, curve: Curve, band: Sequence[Band]) -> list[tuple[str, list[str]]]:
    """Return the columns of a schedule, each a title and its cells from retry 0 on."""
    chosen = {f"{letter} 5 %": 0, f"{letter} 50 %": 1, f"{letter} 95 %": 2}
    if not curve.random:
        chosen = {letter: 1}
    digits = _digits([time for times in band for time in times])
    end = ["ends"] if curve.ends_here else []
    return [
        (title, [*(f"{times[which]:.{digits}f}" for times in band), *end])
        for title, which in chosen.items()
    ]


def _digits(times: Sequence[float]) -> int:
    """Return how many digits after the point show `times`: all that they have, or four in all."""
    most = max(times, default=0.0)
    if most == 0.0:
        return 0
    enough = min(max(3 - math.floor(math.log10(most)), 0), 12)
    slack = most * 1e-9
    exact = (n for n in range(enough) if all(abs(t - round(t, n)) <= slack for t in times))
    return next(exact, enough)


def _table(columns: Sequence[tuple[str, list[str]]], rows: int, console: Console) -> Table:
    lines = None if console.options.ascii_only else box.SIMPLE_HEAD
    table = Table(box=lines, padding=(0, 1), collapse_padding=False, pad_edge=False)
    table.add_column("retry", justify="right", no_wrap=True)
    for title, _ in columns:
        style = STYLES["ABCDEFGH".index(title[0])]
        table.add_column(Text(title, style), justify="right", no_wrap=True)
    for k in range(rows):
        cells = (cells[k] if k < len(cells) else "" for _, cells in columns)
        table.add_row(str(k), *map(Text, cells))
    return table
