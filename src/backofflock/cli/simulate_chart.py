"""The comparison of simulated schedules, and who held when, as PNG or SVG. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from backofflock import simulation

from .pictures import STYLE, metadata_for
from .settings import BadValue
from .simulate_table import Row, headline

__all__ = ["draw_comparison", "draw_gantt"]

_mpl: Any = matplotlib
_STYLE: Any = {**STYLE, "axes.titlesize": 10, "axes.grid.axis": "x"}
_BLUE, _LIGHT, _PALE, _RED = "#1f4e9c", "#5b9bd5", "#c9d8ec", "#d62728"
_LONG = 46


def draw_comparison(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw utilisation, waits, fairness and tries of each schedule as bars beside one another."""
    remote = any(row.outcome.commands for row in rows)
    panels: list[tuple[str, Callable[[Any], None]]] = [
        ("lock held, %\n(line: rule of thumb)", lambda axes: _utilisation(axes, rows)),
        ("wait, s\n(p50, p99, longest)", lambda axes: _waits(axes, rows)),
        ("fairness\n(Jain's index)", lambda axes: _bars(axes, [r.outcome.fairness for r in rows])),
        ("tries for\nan acquisition", lambda axes: _bars(axes, [r.outcome.tries for r in rows])),
    ]
    if remote:
        heading = "requests a second\nat the server"
        panels.append((heading, lambda axes: _bars(axes, [r.outcome.commands for r in rows])))
    with _mpl.rc_context(_STYLE):
        figure: Any = Figure(figsize=(4.2 + 2.0 * len(panels), 1.7 + 0.48 * len(rows)))
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (heading, draw) in zip(all_axes, panels, strict=True):
            axes.set_title(heading, loc="left")
            draw(axes)
            axes.tick_params(axis="y", length=0)
        first = all_axes[0]
        first.set_yticks(range(len(rows)), [_name(row) for row in rows])
        first.set_ylim(len(rows) - 0.4, -0.6)
        _save(figure, title, path)


def _name(row: Row) -> str:
    name = str(row.schedule)
    return name if len(name) <= _LONG else f"{name[: _LONG - 1]}…"


def _utilisation(axes: Any, rows: Sequence[Row]) -> None:
    _bars(axes, [100 * row.outcome.utilisation for row in rows])
    for place, row in enumerate(rows):
        axes.plot([100 * row.rule] * 2, [place - 0.4, place + 0.4], color=_RED, linewidth=2)
    axes.set_xlim(0, 118)
    axes.set_xticks([0, 50, 100])


def _waits(axes: Any, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        outcome = row.outcome
        waits = [max(wait, 1e-4) for wait in
                 (outcome.wait_p50, outcome.wait_p99, outcome.wait_longest)]  # fmt: skip
        axes.plot(waits, [place] * 3, color=_LIGHT, linewidth=2, zorder=1)
        axes.scatter(waits, [place] * 3, color=[_PALE, _BLUE, _RED], edgecolor=_BLUE, zorder=2)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _bars(axes: Any, values: Sequence[float]) -> None:
    axes.barh(range(len(values)), values, color=_BLUE, height=0.62)
    most = max(values, default=0.0) or 1.0
    for place, value in enumerate(values):
        axes.text(value + 0.02 * most, place, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}",
                  va="center", fontsize=9)  # fmt: skip
    axes.set_xlim(0, 1.32 * most)


def draw_gantt(
    spans: Sequence[simulation.Span], scenario: simulation.Scenario, schedule: str, path: Path
) -> None:
    """Draw a line for each contender: when it held, slept and tried."""
    contenders = scenario.contenders
    with _mpl.rc_context(_STYLE):
        figure: Any = Figure(figsize=(11, 1.6 + min(0.3 * contenders, 14)))
        axes = figure.subplots()
        for what, colour, height in (("slept", _PALE, 0.5), ("held", _BLUE, 0.8)):
            for who in range(contenders):
                bars = [(span.began, span.ended - span.began) for span in spans
                        if span.who == who and span.what == what]  # fmt: skip
                axes.broken_barh(
                    bars, (who - height / 2, height), facecolors=colour,
                    label=what if who == 0 else None,
                )  # fmt: skip
        tries = [(span.began, span.who) for span in spans if span.what == "tried"]
        axes.scatter([when for when, _ in tries], [who for _, who in tries], marker="|",
                     s=40, color=_RED, linewidths=0.8, label="tried, in vain")  # fmt: skip
        axes.set_ylim(contenders - 0.4, -0.6)
        axes.set_xlim(0, max((span.ended for span in spans), default=0.0) or 1.0)
        axes.set_xlabel("virtual seconds")
        axes.set_ylabel("contender")
        step = max(1, contenders // 12)
        axes.set_yticks(
            range(0, contenders, step), [str(n + 1) for n in range(0, contenders, step)]
        )
        axes.set_title(schedule, loc="left")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False)
        _save(figure, headline(scenario), path)


def _save(figure: Any, title: str, path: Path) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.set_layout_engine("tight")
    try:
        figure.savefig(path, metadata=metadata_for(path))
    except OSError as error:
        raise BadValue(f"cannot write {str(path)!r}: {error.strerror or error}") from None
