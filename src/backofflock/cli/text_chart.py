"""A chart made of characters: letters at the medians, bars for the bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

from rich.text import Text

from .curves import NOTHING, Band

__all__ = ["Line", "draw"]

HEIGHT = 14
"""Rows of the plane that is drawn on."""

_LEAST = 8
"""Columns that the plane has at least, however narrow the terminal is."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is drawn of a schedule: its bands from retry 0 on."""

    letter: str
    style: str
    bands: Sequence[Band]
    ends: bool
    """Whether there is a mark behind the last: it gives up there."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a value stands: a row from the bottom, 0, to the top."""

    row: Callable[[float], int]
    ticks: Sequence[float]


def draw(lines: Sequence[Line], width: int, *, log: bool, ascii_only: bool) -> Iterator[Text]:
    """Yield the rows of the chart, no wider than `width`; retries go to the right."""
    values = [value for line in lines for band in line.bands for value in band]
    scale = (_logarithmic if log else _linear)(values)
    labels = {scale.row(tick): f"{tick:g}" for tick in scale.ticks}
    margin = max(map(len, labels.values())) + 1
    columns = max(width - margin - 1, _LEAST)
    retries = max(len(line.bands) + line.ends for line in lines)
    plane = _plane(lines, scale, columns, retries, ascii_only=ascii_only)
    upright, corner, across = "|+-" if ascii_only else "│└─"
    for row in reversed(range(HEIGHT)):
        text = Text(f"{labels.get(row, ''):>{margin - 1}} {upright}", no_wrap=True)
        for column in range(columns):
            text.append(*plane.get((row, column), (" ",)))
        text.rstrip()
        yield text
    yield Text(f"{'':>{margin}}{corner}{across * columns}", no_wrap=True)
    yield Text(f"{'':>{margin + 1}}{_below(columns, retries)}".rstrip(), no_wrap=True)


def _column(k: int, columns: int, retries: int) -> int:
    """Return the middle of the slot of retry k."""
    return (2 * k + 1) * columns // (2 * max(retries, 1))


def _plane(
    lines: Sequence[Line], scale: _Scale, columns: int, retries: int, *, ascii_only: bool
) -> dict[tuple[int, int], tuple[str, str]]:
    """Return what stands where: bars first, so that no letter is hidden by one."""
    bar, end = ("|", "x") if ascii_only else ("│", "✕")
    apart = columns // max(retries, 1) > len(lines)  # room to stand side by side
    bars: dict[tuple[int, int], tuple[str, str]] = {}
    letters: dict[tuple[int, int], tuple[str, str]] = {}
    for number, line in enumerate(lines):
        aside = number - len(lines) // 2 if apart else 0
        for k, band in enumerate(line.bands):
            column = _column(k, columns, retries) + aside
            for row in range(scale.row(band.p5), scale.row(band.p95) + 1):
                bars[row, column] = (bar, line.style)
            letters[scale.row(band.p50), column] = (line.letter, f"bold {line.style}")
        if line.ends:
            last = scale.row(line.bands[-1].p50) if line.bands else 0
            column = _column(len(line.bands), columns, retries) + aside
            letters[last, column] = (end, f"bold {line.style}")
    return {**bars, **letters}


def _below(columns: int, retries: int) -> str:
    """Return the numbers of the retries, as many as there is room for."""
    row = [" "] * columns
    free = 0
    for k in range(0, retries, _step(retries, columns)):
        start = _column(k, columns, retries) - (len(str(k)) - 1) // 2
        if free <= start <= columns - len(str(k)):
            row[start : start + len(str(k))] = str(k)
            free = start + len(str(k)) + 1
    return "".join(row)


def _step(retries: int, columns: int) -> int:
    """Return how many retries one number stands for: 1, 2, 5, 10 and so on."""
    room = max(columns // (len(str(retries)) + 2), 1)
    step = 1
    for factor in cycle((2.0, 2.5, 2.0)):
        if retries <= step * room:
            break
        step = round(step * factor)
    return step


def _linear(values: Sequence[float]) -> _Scale:
    """From 0 to the largest value, with some four ticks at round numbers."""
    most = max(values, default=0.0)
    if most < NOTHING:
        most = 1.0
    unit = 10.0 ** math.floor(math.log10(most))
    step = next(unit * n for n in (0.2, 0.5, 1.0, 2.0, 5.0) if most <= 5 * unit * n)
    top = math.ceil(most / step * (1 - 1e-9)) * step
    ticks = [step * n for n in range(round(top / step) + 1)]
    return _Scale(lambda value: round(value / top * (HEIGHT - 1)), ticks)


def _logarithmic(values: Sequence[float]) -> _Scale:
    """Over whole powers of ten; 0, which has no logarithm, is the bottom row."""
    some = [value for value in values if value >= NOTHING] or [1.0]
    low = math.floor(math.log10(min(some)) + 1e-9)
    high = max(math.ceil(math.log10(max(some)) - 1e-9), low + 1)
    step = math.ceil((high - low) / (HEIGHT // 2))

    def row(value: float) -> int:
        if value < NOTHING:
            return 0
        return 2 + round((math.log10(value) - low) / (high - low) * (HEIGHT - 3))

    return _Scale(row, [0.0, *(10.0**n for n in range(low, high + 1, step))])
