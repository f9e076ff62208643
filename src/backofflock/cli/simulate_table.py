"""The comparison of simulated schedules: one row for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from backofflock import Schedule, simulation

__all__ = ["Row", "comparison", "headline", "suggestion"]


@dataclass(frozen=True, slots=True)
class Row:
    """What is shown of one schedule."""

    schedule: Schedule
    outcome: simulation.Outcome
    rule: float
    """The utilisation that the rule of thumb expects."""
    why: str = ""
    """Why it is suggested."""


def seconds(value: float) -> str:
    """Return seconds in three digits.

    >>> seconds(0.01234), seconds(1234.0), seconds(0.0)
    ('0.0123', '1,234', '0')
    """
    return f"{value:,.0f}" if value >= 100 or value == 0.0 else f"{value:.3g}"


_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("used\n%", lambda row: f"{100 * row.outcome.utilisation:.1f}"),
    ("rule\n%", lambda row: f"{100 * row.rule:.0f}"),
    ("wait s\np50", lambda row: seconds(row.outcome.wait_p50)),
    ("\np99", lambda row: seconds(row.outcome.wait_p99)),
    ("\nlongest", lambda row: seconds(row.outcome.wait_longest)),
    ("fair-\nness", lambda row: f"{row.outcome.fairness:.2f}"),
    ("tries\neach", lambda row: seconds(row.outcome.tries)),
)
_SERVER: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("cmds\n/s", lambda row: f"{row.outcome.commands:,.0f}"),
)
_LEGEND = (
    "used: the lock was held; rule: expected by 1/(1 + c/(N h)) for the mean nap c of N waiters "
    "and hold h; fairness: Jain's index, 1 is all alike; tries: for an acquisition"
)
_OF_SERVER = "; cmds/s: requests that reach the server"


def headline(scenario: simulation.Scenario) -> str:
    """Return the line that says what is simulated."""
    remote = scenario.remote
    parts = [f"{scenario.contenders:,} contenders", f"hold {scenario.hold} s"]
    if scenario.rounds != 1:
        parts.append(f"think {scenario.think} s")
    if scenario.rounds is not None:
        parts.append(f"{scenario.rounds:,} round{'' if scenario.rounds == 1 else 's'} each")
    if scenario.seconds is not None:
        parts.append(f"{scenario.seconds:g} s")
    if str(scenario.arrival) != "burst:0.001":
        parts.append(f"arrival {scenario.arrival}")
    if remote is not None:
        parts.append(f"server of {remote.capacity:,g} requests/s, round trip {remote.rtt} s")
        if remote.processes is not None:
            parts.append(f"{remote.processes:,} processes")
        if remote.lost:
            parts.append(f"{100 * remote.lost:g} % of replies lost")
    elif scenario.wake:
        parts.append("a release wakes the next")
    else:
        parts.append("nobody is woken")
    return ", ".join(parts)


def comparison(rows: Sequence[Row], *, remote: bool) -> Iterator[RenderableType]:
    """Yield the table of `rows`, and its legend."""
    columns = (*_COLUMNS, *(_SERVER if remote else ()))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.add_column("schedule\n", overflow="fold")
    for heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = [cell(row) for _, cell in columns]
        # Blanks to wrap at; it is read back all the same.
        text = str(row.schedule).replace(",", ", ").replace(":", ": ")
        name = text + (f"\n  {row.why}" if row.why else "")
        table.add_row(Text(name), *(Text(cell) for cell in cells))
    yield table
    yield Text(_LEGEND + (_OF_SERVER if remote else ""))


def suggestion(rows: Sequence[Row], scenario: simulation.Scenario) -> Text:
    """Return what to make of the rows of a search."""
    unit = "requests" if scenario.remote else "tries"
    ten = seconds(10 * scenario.hold.mean)
    return Text(
        f"\nNo other schedule that was tried uses the lock more with as few {unit}. The one to "
        "begin with is the thriftiest that uses it for 95 % of what the best does. The rule of "
        f"thumb, a cap near ten holds, is {ten} s here."
    )
