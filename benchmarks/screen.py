"""What a run shows: the environment, a progress bar, and the results as tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .bars import Verdict
from .peers import Peer
from .runner import Step
from .samples import Sample
from .tables import cell_table, cells_of
from .words import METRICS, is_ours, limit_of, limits_of, spread_of, value_of

__all__ = ["Screen"]

SHORT: tuple[str, ...] = (
    "entry",
    "throughput",
    "p50",
    "p99",
    "longest",
    "jain",
    "cpu",
    "loop p99",
    "memory",
    "cpu share",
    "drain",
)
"""The metrics there is room for; the report and the JSON have all."""

STYLES = {"missed": "bold red", "reached": "green", "not measured": "dim"}


class Screen:
    """Progress goes to stderr, results to stdout; `quiet` keeps the results back."""

    WIDTH = 150
    """Columns of the tables where stdout is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._out = Console(highlight=False, quiet=quiet)
        self._err = Console(stderr=True, highlight=False)
        if not sys.stdout.isatty():
            self._out.width = self.WIDTH

    def open(self, facts: dict[str, str], peers: Sequence[Peer]) -> None:
        """Print the environment and who is missing."""
        for name, fact in facts.items():
            self._out.print(f"{name}: {fact}", markup=False)
        for peer in peers:
            if peer.missing:
                self._err.print(f"{peer.name} is left out: {peer.missing}", markup=False)

    @contextmanager
    def progress(self, steps: Sequence[Step]) -> Iterator[Callable[[Sample], None]]:
        """Show how far the run is; yields what to call after each sample."""
        columns = (
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
        )
        left = iter([*steps[1:], None])
        # A thread that redraws would take time from the samples, so only a finished one redraws.
        with Progress(*columns, console=self._err, transient=True, auto_refresh=False) as progress:
            task = progress.add_task("", total=sum(step.cost for step in steps))
            progress.refresh()
            costs = {(s.round, s.cell.id, s.peer.name, s.mode): s.cost for s in steps}

            def advance(sample: Sample) -> None:
                following = next(left)
                name = f"{following.cell.id} {following.peer.name}" if following else ""
                cost = costs[sample.round, sample.cell, sample.peer, sample.mode]
                progress.update(task, advance=cost, description=name, refresh=True)

            yield advance

    def close(
        self, samples: Sequence[Sample], verdicts: Sequence[Verdict], interrupted: bool
    ) -> None:
        """Print what was measured."""
        for cell in cells_of(samples):
            head, rows = self._table(samples, cell)
            table = Table(title=cell, title_justify="left", header_style="bold", box=None)
            for number, metric in enumerate(head):
                table.add_column(metric, justify="right" if number else "left", no_wrap=True)
            for row in rows:
                table.add_row(*row, style="bold cyan" if is_ours(row[0]) else None)
            self._out.print(table)
            self._out.print()
        if verdicts:
            self._print_bars(verdicts)
        for sample in samples:
            if sample.failure:
                self._err.print(
                    f"{sample.peer} in {sample.cell}: {sample.failure}", markup=False, style="red"
                )
        if interrupted:
            self._err.print(f"interrupted after {len(samples)} samples: these are all there are")

    def _table(self, samples: Sequence[Sample], cell: str) -> tuple[list[str], list[list[str]]]:
        return cell_table(samples, cell, SHORT)

    def _print_bars(self, verdicts: Sequence[Verdict]) -> None:
        table = Table(title="bars, misses first", title_justify="left", box=None)
        for name in ("workload", "peer", "metric", "bar", "reached", "quartiles", "n", ""):
            table.add_column(name, justify="right" if name in {"reached", "n"} else "left")
        for verdict in verdicts:
            bar, reached = verdict.bar, verdict.reached
            table.add_row(
                bar.cell,
                bar.peer,
                METRICS[bar.metric],
                limit_of(bar),
                "" if reached is None else value_of(bar, reached.median),
                "" if reached is None else spread_of(bar, reached),
                "" if reached is None else str(reached.rounds),
                verdict.status,
                style=STYLES[verdict.status],
            )
        self._out.print(table)
        if limits := limits_of(verdicts):
            self._out.print(limits, markup=False)
        missed = sum(verdict.status == "missed" for verdict in verdicts)
        self._out.print(f"{missed} of {len(verdicts)} bars missed", style="bold")
