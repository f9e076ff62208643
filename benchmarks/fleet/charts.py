"""The charts of the distributed locks, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, FuncFormatter

from ..charts import STYLE
from ..samples import Sample, Values, values_of
from ..words import is_ours, plain
from .bars import PLAIN
from .cells import BACKENDS, CELLS

__all__ = ["write_charts"]

OURS, PEER, TUNED, PLAIN_CALLS, FASTENERS = "#d62728", "#1f4e9c", "#8ab4e0", "#8a8a8a", "#0f8b8d"


def _colour(peer: str) -> str:
    if is_ours(peer):
        return OURS
    if peer in PLAIN.values():
        return PLAIN_CALLS
    if peer.startswith("fasteners"):
        return FASTENERS
    return TUNED if "=" in peer else PEER


def write_charts(directory: Path, samples: Sequence[Sample]) -> list[tuple[str, Path]]:
    """Draw what the samples have something to say about; return captions and paths of the PNGs."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    values = values_of(samples)
    with mpl.rc_context(STYLE):
        for caption, name, figure in _charts(values):
            path = directory / f"{name}.png"
            figure.savefig(path, metadata={"Software": None})
            figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
            written.append((caption, path))
    return written


def _charts(values: Values) -> Iterator[tuple[str, str, Figure]]:
    if figure := _uncontended(values):
        yield "A free lock", "fleet-uncontended", figure
    for metric, caption, name, unit in (
        ("throughput", "Acquisitions per second: more is better", "fleet-throughput", ""),
        ("p99", "The wait that one in a hundred exceeds: less is better", "fleet-waits", "s"),
        ("requests", "Requests per acquisition: less is better", "fleet-requests", ""),
    ):
        if figure := _contended(values, metric, caption, unit):
            yield caption.partition(":")[0], name, figure


def _uncontended(values: Values) -> Figure | None:
    """Seconds of an acquisition and its release, one panel a backend and kind of contender."""
    places = [cell.id for cell in CELLS if cell.workload == "uncontended"]
    found: dict[str, list[tuple[str, float]]] = {}
    for (cell, peer, metric), rounds in values.items():
        if metric == "entry":
            found.setdefault(cell, []).append((peer, median(rounds.values())))
    present = [cell for cell in places if cell in found]
    if not present:
        return None
    figure = Figure(figsize=(13.0, 1.2 + 1.3 * len(present)), layout="constrained")
    figure.suptitle("A free lock, acquired and released: less is better", fontsize=14)
    axes = figure.subplots(len(present), 1, squeeze=False)[:, 0]
    for axis, cell in zip(axes, present, strict=True):
        bars = sorted(found[cell], key=lambda bar: -bar[1])
        _draw(axis, [(peer, number, seconds) for number, (peer, seconds) in enumerate(bars)], "s")
        axis.set_yticks(range(len(bars)), [peer for peer, _ in bars])
        axis.set_title(cell.rpartition("/")[0], loc="left")
        for label in axis.get_yticklabels():
            label.set_fontweight("bold" if is_ours(label.get_text()) else "normal")
    return figure


def _contended(values: Values, metric: str, caption: str, unit: str) -> Figure | None:
    """A metric of all cells, one panel a backend and kind of contender."""
    panels: dict[str, list[tuple[str, list[tuple[str, float]]]]] = {}
    for cell in CELLS:
        bars = [
            (peer, median(rounds.values()))
            for (name, peer, measured), rounds in values.items()
            if (name, measured) == (cell.id, metric) and cell.workload != "uncontended"
        ]
        if bars:
            place = cell.host.rpartition("/")[0]
            rest = cell.id.removeprefix(f"{place}/")
            panels.setdefault(place, []).append((rest, bars))
    if not panels:
        return None
    ordered = sorted(panels, key=lambda place: BACKENDS.index(place.partition("/")[0]))
    rows = [sum(len(bars) + 1 for _, bars in panels[place]) for place in ordered]
    figure = Figure(figsize=(13.0, 1.5 + 0.2 * sum(rows) + 0.8 * len(rows)), layout="constrained")
    figure.suptitle(caption, fontsize=14)
    axes = figure.subplots(len(ordered), 1, squeeze=False, height_ratios=rows)[:, 0]
    for axis, place in zip(axes, ordered, strict=True):
        drawn: list[tuple[str, int, float]] = []
        ticks: dict[str, float] = {}
        at = 0
        for rest, bars in panels[place]:
            ticks[rest] = at + (len(bars) - 1) / 2
            # In one order everywhere: ours first, then by name.
            for peer, value in sorted(bars, key=lambda bar: (not is_ours(bar[0]), bar[0])):
                drawn.append((peer, at, value))
                at += 1
            at += 1
        axis.set_xscale("log")
        _draw(axis, drawn, unit)
        axis.set_yticks(list(ticks.values()), list(ticks))
        axis.invert_yaxis()
        axis.set_title(place, loc="left")
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def _draw(axis: Any, bars: Sequence[tuple[str, int, float]], unit: str) -> None:
    labelled: set[str] = set()
    for peer, at, value in bars:
        drawn = axis.barh(
            at, value, 0.85, color=_colour(peer), label=None if peer in labelled else peer
        )
        labelled.add(peer)
        axis.bar_label(drawn, fmt=_words(unit, places=1), padding=4, fontsize=9)
    axis.margins(x=0.15)
    axis.xaxis.set_major_formatter(_words(unit))
    axis.grid(axis="y", visible=False)


def _words(unit: str, places: int | None = None) -> Formatter:
    """Return how figures are written; without a unit they are numbers of something."""
    if unit:
        return EngFormatter(unit=unit, places=places)
    return FuncFormatter(lambda value, _: plain(value))
