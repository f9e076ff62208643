"""RESULTS.md: what was measured, written by the suite itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from .bars import Verdict
from .cells import CELLS, SECTIONS
from .charts import write_charts
from .peers import Peer
from .samples import Sample
from .tables import cell_table, cells_of
from .words import METRICS, is_ours, limit_of, limits_of, spread_of, value_of

__all__ = ["charts_of", "head_of", "missing_of", "table_part", "write_parts", "write_report"]

TITLES = {
    "uncontended": "A free lock",
    "tasks": "Tasks on one loop",
    "threads": "Threads",
    "mixed": "Threads and tasks, and two loops",
    "waiters": "Waiters on a lock that stays held",
}

METHOD = """\
All peers of a workload are measured in one process, round by round, in an order that is drawn
anew for every round. A ratio is taken within a round; the tables give the median of the rounds'
ratios, with the quartiles beside it, and the medians of the other figures. Locks that no bar
names take part in every third round, and in the long samples of the first alone.

The garbage collector is on, and starts clean in each sample. Throughput is counted in samples
that do nothing but count, where the lock is held so briefly that taking times would show. Waits
are taken by `time.perf_counter` around each acquisition, with a heartbeat on the loop that notes
how late it is for timers of 1 to 3 ms; waits below 1 µs are counted as none, and those that are not
over at the end of a sample count as long as they have lasted. The free lock is the exception: its
waits are what entering it takes. CPU while waiting is that of one second without a heartbeat, which
takes more than most locks do. What one thread reaches alone, in `threads/1`, is what several can
reach at the most, as they exclude each other. Jain's index is 1 where all contenders got equally
much, and 1/n where one of n got everything. Memory is what `tracemalloc` sees appear for a task
that waits, less what it sees for a task that waits for a future made beforehand; the metric with
the task leaves that subtraction out. A dash stands where a lock does not count, or a workload has
nothing to measure."""


def write_report(
    directory: Path,
    command: str,
    facts: dict[str, str],
    peers: Sequence[Peer],
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    interrupted: bool,
) -> Path:
    """Write RESULTS.md and ``charts/`` into `directory`, and return the path of the former."""
    charts = write_charts(directory / "charts", samples)
    head = head_of(
        "# Results", command, facts, missing_of(peers), samples, verdicts, interrupted, METHOD
    )
    return write_parts(directory, [*head, *charts_of(charts), *_workloads(samples)])


def head_of(
    title: str,
    command: str,
    facts: dict[str, str],
    missing: dict[str, str],
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    interrupted: bool,
    method: str,
) -> list[str]:
    """Return what stands above the charts: the bars, where and how it was measured."""
    stop = "**Interrupted: these are the samples that were finished.**" if interrupted else ""
    return [
        title,
        f"Written by `{command}`.",
        stop,
        "## Bars",
        _verdict_on_all(verdicts),
        _bars(verdicts),
        limits_of(verdicts),
        "## Where it was measured",
        rows_of(("", ""), facts.items()),
        *(f"{name} is left out: {reason}." for name, reason in missing.items()),
        *(f"{s.peer} in {s.cell}: {s.failure}." for s in samples if s.failure),
        "## How",
        method,
    ]


def missing_of(peers: Sequence[Peer]) -> dict[str, str]:
    """Return why peers are missing, by their names."""
    return {peer.name: peer.missing for peer in peers if peer.missing}


def charts_of(charts: Sequence[tuple[str, Path]]) -> list[str]:
    """Return what shows the charts."""
    parts = ["## Charts"] if charts else []
    for caption, path in charts:
        parts.append(f"### {caption}\n\n![{caption}](charts/{path.name})")
        parts.append(f"The same as [SVG](charts/{path.stem}.svg).")
    return parts


def write_parts(directory: Path, parts: Sequence[str]) -> Path:
    """Write what there is of the parts to RESULTS.md, and return its path."""
    target = directory / "RESULTS.md"
    target.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return target


def _verdict_on_all(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return "No bar is set for what was measured."
    count = dict.fromkeys(("missed", "reached", "not measured"), 0)
    for verdict in verdicts:
        count[verdict.status] += 1
    return (
        f"{count['reached']} reached, {count['missed']} missed, {count['not measured']} not "
        "measured. The misses first, the farthest from their bar before the others."
    )


def _bars(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return ""
    rows = []
    for verdict in verdicts:
        bar, reached = verdict.bar, verdict.reached
        status = "**missed**" if verdict.status == "missed" else verdict.status
        row = [bar.cell, bar.peer, METRICS[bar.metric], limit_of(bar)]
        if reached is None:
            row += ["-", "-", "-"]
        else:
            row += [value_of(bar, reached.median), spread_of(bar, reached), str(reached.rounds)]
        rows.append([*row, status])
    head = ("workload", "lock", "metric", "bar", "reached", "quartiles", "rounds", "")
    return rows_of(head, rows)


def _workloads(samples: Sequence[Sample]) -> list[str]:
    about = {cell.id: cell for cell in CELLS}
    parts = []
    for workload, cells in groupby(cells_of(samples), key=lambda cell: cell.partition("/")[0]):
        parts.append(f"## {TITLES[workload]}")
        for cell in cells:
            head, rows = cell_table(samples, cell)
            thinks = about[cell].think and about[cell].section != "random"
            section = SECTIONS[about[cell].section] + (", with thinking in between" * thinks)
            parts += [
                f"### {cell}",
                f"{section[0].upper()}{section[1:]}.",
                table_part(head, rows),
            ]
    return parts


def table_part(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the table of a cell, with our locks in bold."""
    marked = [[f"**{row[0]}**" if is_ours(row[0]) else row[0], *row[1:]] for row in rows]
    return rows_of([METRICS.get(metric, metric) for metric in head], marked)


def rows_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
