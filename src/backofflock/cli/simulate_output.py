"""What ``backofflock simulate`` shows: how far it is, the table, the document, the pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from backofflock import Schedule, __version__, simulation

from .display import shows_motion
from .pictures import need_matplotlib, picture_format
from .settings import BadValue
from .simulate_gantt import beginning, drawn
from .simulate_table import Row, comparison, headline, suggestion

__all__ = ["Bar", "Pictures", "print_json", "print_table"]

_WIDTH = 80
_MOST_DRAWN = 100
_MOST_TRIES, _MOST_TRIES_IN_TEXT = 50, 30
"""Tries of a contender, on average, up to which there is something to see in a picture."""


class Bar:
    """How far it is: a bar on stderr where that is a terminal, else nothing."""

    def __init__(self, total: int, wanted: bool) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not (wanted and shows_motion(sys.stderr)),
        )
        self._task = self._bar.add_task("simulating", total=total)
        self._done = 0

    def tell(self, share: float) -> None:
        """Show which share of the schedule is done."""
        self._bar.update(self._task, completed=self._done + share)

    def next(self, schedule: Schedule) -> None:
        """Show which schedule begins."""
        self._bar.update(self._task, completed=self._done, description=str(schedule))

    def finish(self) -> None:
        """Note that a schedule is done."""
        self._done += 1

    @contextmanager
    def shown(self) -> Generator[None, None, None]:
        """Show it for a while."""
        with self._bar:
            yield


class Pictures:
    """The pictures that were asked for; whether they can be drawn is found out before the work."""

    def __init__(
        self, output: Path | None, gantt: str | None, scenario: simulation.Scenario
    ) -> None:
        if gantt is not None and scenario.contenders > _MOST_DRAWN:
            raise BadValue(
                f"--gantt draws a line for each contender, at most {_MOST_DRAWN}, "
                f"not {scenario.contenders}"
            )
        self._output = output
        self._gantt = None if gantt in (None, "-") else Path(str(gantt))
        self._in_text = gantt == "-"
        self._scenario = scenario
        if self._output is not None:
            picture_format("--output", self._output)
        if self._gantt is not None:
            picture_format("--gantt", self._gantt, otherwise=", or - for text")
        if self._output is None and self._gantt is None:
            return
        need_matplotlib(
            "pictures need matplotlib, which is not installed: "
            'pip install "backofflock[plot]"; --gantt - needs nothing'
        )

    def draw(self, rows: Sequence[Row], seed: int) -> None:
        """Draw the comparison of `rows`, and how the first run of the first of them begins."""
        scenario = self._scenario
        if self._output is not None:
            from .simulate_chart import draw_comparison

            draw_comparison(rows, headline(scenario), self._output)
        if self._gantt is None and not self._in_text:
            return
        schedule = rows[0].schedule
        spans = simulation.trace(schedule, scenario, seed=seed)
        most = _MOST_TRIES_IN_TEXT if self._gantt is None else _MOST_TRIES
        spans = beginning(spans, scenario.contenders, most, scenario.limit)
        if self._gantt is not None:
            from .simulate_chart import draw_gantt

            draw_gantt(spans, scenario, str(schedule), self._gantt)
        else:
            width = Console().width if sys.stdout.isatty() else _WIDTH
            print("", *drawn(spans, scenario.contenders, width, str(schedule)), sep="\n")


def print_table(
    rows: Sequence[Row],
    scenario: simulation.Scenario,
    seed: int,
    runs: int,
    wanted: int,
    *,
    suggest: bool,
    interrupted: bool,
) -> None:
    """Print what was simulated, the table of `rows` and what to make of it."""
    console = Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else _WIDTH,
        force_terminal=None if sys.stdout.isatty() else False,
        highlight=False,
    )
    repeated = f", {runs} runs" if runs > 1 else ""
    with console.capture() as captured:
        console.print(f"{headline(scenario)}; seed {seed}{repeated}")
        if rows:
            console.print(*comparison(rows, remote=scenario.remote is not None))
        if suggest and rows and not interrupted:
            console.print(suggestion(rows, scenario))
    for line in captured.get().splitlines():
        print(line.rstrip())
    if interrupted:
        print(f"interrupted: {len(rows)} of {wanted} schedules finished")


def print_json(
    rows: Sequence[Row], scenario: simulation.Scenario, seed: int, runs: int, *, interrupted: bool
) -> None:
    """Print the document that the help of the command describes."""
    document = {
        "version": __version__,
        "scenario": _plain(scenario),
        "seed": seed,
        "runs": runs,
        "interrupted": interrupted,
        "schedules": [
            {
                "schedule": str(row.schedule),
                "rule_of_thumb": row.rule,
                **({"why": row.why} if row.why else {}),
                **{key: value for key, value in asdict(row.outcome).items() if key != "runs"},
            }
            for row in rows
        ],
    }
    print(json.dumps(document, indent=2))


def _plain(value: object) -> object:
    """Return a record as JSON can have it: times and arrivals as their text."""
    if isinstance(value, simulation.Distribution | simulation.Arrival):
        return str(value)
    if isinstance(value, simulation.Scenario | simulation.Remote):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value
