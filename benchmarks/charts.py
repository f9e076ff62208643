"""The charts, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator

from .samples import Sample, Values, values_of
from .words import is_ours
from .workloads.tally import FLOOR, SHARES

__all__ = ["write_charts"]


@dataclass(frozen=True)
class Look:
    """How a peer is drawn, the same in every chart."""

    colour: str
    marker: str = "o"
    line: str = "-"
    width: float = 1.5


LOOKS = {
    "BackoffLock": Look("#d62728", "o", "-", 3.2),
    "ThreadBackoffLock": Look("#ff8c1a", "s", "-", 3.2),
    "asyncio.Lock": Look("#1f4e9c", "^"),
    "trio.Lock": Look("#1f4e9c", "D"),
    "threading.Lock": Look("#1f4e9c", "v"),
    "threading.RLock": Look("#5b9bd5", "v"),
    "anyio.Lock": Look("#0f8b8d", "P"),
    "anyio.Lock(fast_acquire=True)": Look("#4fc3a1", "X"),
    "aiologic.Lock": Look("#7b3fa0", "D"),
    "to_thread(threading.Lock.acquire)": Look("#8c564b", "p"),
    "spin": Look("#333333", "1", ":"),
    "fixed": Look("#555555", "2", ":"),
    "random": Look("#707070", "3", "--"),
    "linear": Look("#888888", "4", "--"),
    "quadratic": Look("#a0a0a0", "x", "-."),
    "doubling": Look("#b8b8b8", "+", "-."),
}

STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "svg.hashsalt": "backofflock",
    "svg.fonttype": "path",
    "figure.dpi": 130,
}

Chart = tuple[str, str, Figure]
"""A caption, the name of the file and the drawing."""


def write_charts(directory: Path, samples: Sequence[Sample]) -> list[tuple[str, Path]]:
    """Draw what the samples have something to say about; return captions and paths of the PNGs."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context(STYLE):
        for caption, name, figure in _charts(samples):
            path = directory / f"{name}.png"
            figure.savefig(path, metadata={"Software": None})
            figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
            written.append((caption, path))
    return written


def _charts(samples: Sequence[Sample]) -> Iterator[Chart]:
    values = values_of(samples)
    tasks = {
        "turn": "held for one turn of the loop",
        "1ms": "held 1 ms",
        "random": "held 0 to 5 ms",
    }
    threads = {"empty": "empty section", "cpu": "20 µs of computing", "io": "200 µs of sleep"}
    for name, caption, start, sections, who in (
        ("throughput-tasks", "Throughput of tasks", "tasks/asyncio/{}/{}", tasks, "tasks"),
        ("throughput-threads", "Throughput of threads", "threads/{}/{}", threads, "threads"),
    ):
        if figure := _throughput(values, start, sections, who, caption):
            yield caption, name, figure
    if figure := _waits(samples):
        yield "How long an acquisition waits", "waits", figure
    if figure := _fairness(values):
        yield "Fairness among contenders", "fairness", figure
    if figure := _cpu_while_waiting(values):
        yield "CPU while waiting", "cpu-while-waiting", figure


def _throughput(
    values: Values, cell: str, sections: dict[str, str], who: str, title: str
) -> Figure | None:
    sizes = (2, 8, 32) if who == "threads" else (2, 10, 100, 1000, 10000)
    lines = {
        (section, peer): found
        for section in sections
        for peer in LOOKS
        if (
            found := [
                (size, median(rounds.values()))
                for size in sizes
                if (rounds := values.get((cell.format(size, section), peer, "throughput")))
            ]
        )
    }
    present = [section for section in sections if any(key[0] == section for key in lines)]
    if not present:
        return None
    figure, axes = _panels(len(present), f"{title}: more is better")
    drawn: dict[str, Any] = {}
    for axis, section in zip(axes, present, strict=True):
        for peer, look in LOOKS.items():
            if (section, peer) in lines:
                points = zip(*lines[section, peer], strict=True)
                (drawn[peer],) = axis.plot(*points, **_line(peer, look))
        axis.set(xscale="log", yscale="log", title=sections[section])
        axis.set(xlabel=f"contending {who}", xlim=(sizes[0] / 1.3, sizes[-1] * 1.3))
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        low, high = axis.get_ylim()
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
        axis.yaxis.set_major_formatter(EngFormatter(sep=""))
        axis.minorticks_off()
    axes[0].set_ylabel("acquisitions per second")
    return _finish(figure, drawn)


def _waits(samples: Sequence[Sample]) -> Figure | None:
    cells = {
        "tasks/asyncio/100/turn": "100 tasks, one turn of the loop",
        "threads/8/empty": "8 threads, empty section",
        "mixed/4+100/1ms": "4 threads and 100 tasks, 1 ms",
    }
    timed = [sample for sample in samples if sample.quantiles]
    present = [cell for cell in cells if any(sample.cell == cell for sample in timed)]
    if not present:
        return None
    figure, axes = _panels(len(present), "Share of acquisitions that wait longer: lower is better")
    drawn: dict[str, Any] = {}
    for axis, cell in zip(axes, present, strict=True):
        for peer, look in LOOKS.items():
            runs = [s.quantiles for s in timed if (s.cell, s.peer) == (cell, peer)]
            if runs:
                waits = [max(median(column), FLOOR) for column in zip(*runs, strict=True)]
                longer = [max(1 - share, 5e-4) for share in SHARES]
                (drawn[peer],) = axis.plot(waits, longer, **{**_line(peer, look), "marker": ""})
        axis.set(xscale="log", yscale="log", title=cells[cell], xlabel="wait")
        axis.set_xlim(left=FLOOR)
        axis.xaxis.set_major_formatter(EngFormatter(unit="s"))
        axis.xaxis.set_major_locator(LogLocator(numticks=12))
        axis.set_ylim(5e-4, 1.2)
        axis.set_yticks((1, 0.1, 0.01, 0.001), ("all", "1 in 10", "1 in 100", "1 in 1,000"))
        axis.minorticks_off()
    return _finish(figure, drawn)


def _fairness(values: Values) -> Figure | None:
    cells = {
        "tasks/asyncio/100/turn": "100 tasks\none turn",
        "tasks/asyncio/1000/1ms": "1,000 tasks\n1 ms",
        "threads/2/empty": "2 threads\nempty",
        "threads/8/empty": "8 threads\nempty",
        "threads/32/empty": "32 threads\nempty",
        "threads/32/io": "32 threads\n200 µs sleep",
        "mixed/4+4/1ms": "4 threads\n+ 4 tasks\n1 ms",
        "mixed/4+100/1ms": "4 threads\n+ 100 tasks\n1 ms",
    }

    def of(peer: str, cell: str) -> float | None:
        rounds = values.get((cell, peer, "jain"))
        return median(rounds.values()) if rounds else None

    cells = {cell: text for cell, text in cells.items() if any(of(peer, cell) for peer in LOOKS)}
    peers = [peer for peer in LOOKS if any(of(peer, cell) is not None for cell in cells)]
    if not peers:
        return None
    figure = Figure(
        figsize=(5.5 + 0.95 * len(cells), 1.8 + 0.42 * len(peers)), layout="constrained"
    )
    axis = figure.add_subplot()
    grid = [
        [float("nan") if (x := of(peer, cell)) is None else x for cell in cells] for peer in peers
    ]
    picture = axis.imshow(grid, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto", alpha=0.75)
    for row, numbers in enumerate(grid):
        for column, number in enumerate(numbers):
            if number == number:
                axis.text(column, row, f"{number:.2f}", ha="center", va="center")
    axis.set_xticks(range(len(cells)), list(cells.values()), fontsize=9)
    axis.set_yticks(range(len(peers)), peers)
    _embolden(axis.get_yticklabels())
    axis.tick_params(length=0)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.set_title("Jain's fairness index: 1 is equal shares", pad=12)
    figure.colorbar(picture, ax=axis, shrink=0.8, label="Jain's index; blank: not measured")
    return figure


def _cpu_while_waiting(values: Values) -> Figure | None:
    sizes = (1000, 10000)
    charted = {
        size: shares
        for size in sizes
        if (
            shares := {
                peer: 100 * median(rounds.values())
                for peer in LOOKS
                if (rounds := values.get((f"waiters/{size}", peer, "cpu share")))
            }
        )
    }
    if not charted:
        return None
    figure, axes = _panels(len(charted), "CPU while a lock stays held: less is better", wide=6.5)
    for axis, (size, shares) in zip(axes, charted.items(), strict=True):
        names = sorted(shares, key=shares.__getitem__, reverse=True)
        widths = [max(shares[name], 0.1) for name in names]  # the axis begins at 0.1
        bars = axis.barh(names, widths, color=[LOOKS[name].colour for name in names])
        labels = ["less than 0.1 %" if width == 0.1 else f"{width:.1f} %" for width in widths]
        axis.bar_label(bars, labels, padding=4, bbox={"color": "white", "pad": 1}, zorder=3)
        axis.set(xscale="log", xlim=(0.1, 400), ylabel="")
        axis.set_title(f"{size:,} waiting tasks", pad=18)
        axis.set_xlabel("% of a core")
        axis.set_xticks((0.1, 1, 10, 100), ("0.1", "1", "10", "100"))
        axis.axvline(3, color="#d62728", linewidth=1, linestyle="--")
        axis.annotate("bar: 3 %", (3, 1.0), xycoords=("data", "axes fraction"), color="#d62728")
        axis.grid(axis="y", visible=False)
        axis.minorticks_off()
        _embolden(axis.get_yticklabels())
    return figure


def _panels(count: int, title: str, wide: float = 5.0) -> tuple[Figure, Sequence[Any]]:
    figure = Figure(figsize=(max(11.0, wide * count), 6.2), layout="constrained")
    figure.suptitle(title, fontsize=14, fontweight="bold")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _line(peer: str, look: Look) -> dict[str, Any]:
    ours = is_ours(peer)
    return {
        "label": peer,
        "color": look.colour,
        "marker": look.marker,
        "linestyle": look.line,
        "linewidth": look.width,
        "markersize": 8 if ours else 6,
        "zorder": 2 if ours else 3,  # a thin line shows on a thick one, and not the reverse
    }


def _finish(figure: Figure, drawn: dict[str, Any]) -> Figure:
    legend = figure.legend(
        drawn.values(), drawn.keys(), loc="outside lower center", ncols=5, frameon=False
    )
    _embolden(legend.get_texts())
    return figure


def _embolden(texts: Sequence[Any]) -> None:
    for text in texts:
        if is_ours(text.get_text()):
            text.set_fontweight("bold")
