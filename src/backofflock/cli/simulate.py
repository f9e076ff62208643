"""``backofflock simulate``: schedules compared under contention, on a virtual clock."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from backofflock import Constant, Exponential, Linear, Quadratic, Schedule, simulation

from .settings import BadValue, read_schedule, whole_number
from .simulate_output import Bar, Pictures, print_json, print_table
from .simulate_table import Row

__all__ = ["simulate"]

T = TypeVar("T")

_FIELDS = (simulation.Scenario, simulation.Remote)
_DEFAULTS = simulation.Scenario()
_REMOTE = simulation.Remote()


def _read(option: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise BadValue(f"{option}: {error}") from None


def _time(option: str, text: str) -> simulation.Distribution:
    return _read(option, simulation.Distribution.parse, text)


def default_schedules(hold: float) -> list[Schedule]:
    """Return what is compared if nothing is named: caps of ten holds, as the rule of thumb has it.

    >>> print(*default_schedules(0.01)[:2])
    exponential:initial=0.01,cap=0.1 exponential:initial=0.01,cap=0.1,jitter=0.5
    """
    hold = float(f"{hold or 0.001:.3g}")
    cap = float(f"{10 * hold:.3g}")
    return [
        Exponential(hold, cap=cap),
        Exponential(hold, cap=cap, jitter=0.5),
        Exponential(hold, cap=cap, jitter=0.0),
        Constant(cap, jitter=0.5),
        Linear((0.0, cap)),
        Quadratic((0.0, cap)),
    ]


def simulate(
    schedules: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCHEDULE ...",
            show_default=False,
            help="What to compare, such as exponential:initial=0.01,cap=0.1. By default some with "
            "a cap of ten holds.",
        ),
    ] = None,
    contenders: Annotated[
        int, typer.Option("--contenders", "-n", help="How many contend.")
    ] = _DEFAULTS.contenders,
    hold: Annotated[str, typer.Option(metavar="TIME", help="How long each holds the lock.")] = str(
        _DEFAULTS.hold
    ),
    think: Annotated[
        str, typer.Option(metavar="TIME", help="From its release to its asking anew.")
    ] = str(_DEFAULTS.think),
    arrival: Annotated[
        str,
        typer.Option(
            metavar="ARRIVAL",
            help="burst:SECONDS, all within so long; poisson:RATE, so many a second.",
        ),
    ] = str(_DEFAULTS.arrival),
    rounds: Annotated[
        int | None,
        typer.Option(help="How often each takes the lock; by default again and again."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Virtual seconds to simulate.",
            show_default="60, or with --rounds until all have had theirs",
        ),
    ] = None,
    late: Annotated[str, typer.Option(metavar="TIME", help="By how much naps end late.")] = str(
        _DEFAULTS.late
    ),
    wake: Annotated[
        bool, typer.Option("--wake", help="Have a release wake the next waiter, as the locks do.")
    ] = False,
    fair_after: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Leave a free key to the first in the queue once it has waited so long.",
            show_default="0 with --wake, else never",
        ),
    ] = None,
    remote: Annotated[
        bool, typer.Option("--remote", help="The lock is on a server: a try is a request.")
    ] = False,
    rtt: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Round trip of a request.",
            show_default=str(_REMOTE.rtt),
        ),
    ] = None,
    capacity: Annotated[
        float | None,
        typer.Option(
            help="Requests the server can serve in a second; others queue.",
            show_default=f"{_REMOTE.capacity:g}",
        ),
    ] = None,
    lost: Annotated[
        float | None, typer.Option(help="Probability that a reply is lost.", show_default="0")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            help="Processes that share the contenders; one of each asks the server.",
            show_default="one for each contender",
        ),
    ] = None,
    request_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="When a request counts as unanswered.",
            show_default=f"{_REMOTE.request_timeout:g}",
        ),
    ] = None,
    runs: Annotated[int, typer.Option(help="Runs of each schedule; the mean is shown.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 1,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Search schedules, and print the best few.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the comparison: FILE.png or FILE.svg."),
    ] = None,
    gantt: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Draw who held, slept and tried at the beginning, under the first schedule: "
            "FILE.png, FILE.svg, or - for text.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Compare schedules under contention: minutes of thousands of contenders in seconds.

    The machine of the locks runs on a virtual clock. By default nobody is woken by a release, as
    with a lock over a foreign one; that is where the schedule decides. TIME is in seconds: 0.01,
    uniform:0..0.005, exponential:0.02 or normal:0.01,0.002, drawn anew each time.

    The table says for each schedule for how much of the time somebody held the lock, what the rule
    of thumb 1/(1 + c/(N h)) expects of its mean nap c, how long contenders waited, Jain's index of
    fairness (1: all alike), tries for an acquisition, and requests a second at the server.

    For example:

    \b
      backofflock simulate
      backofflock simulate -n 256 "linear:initial=0.1..1" "exponential:initial=0.1,cap=10" --hold 1
      backofflock simulate --rounds 1 --runs 30 --late exponential:0.02
      backofflock simulate --wake --think exponential:0.05
      backofflock simulate --remote -n 200 --processes 20 --rtt normal:0.002,0.0005 --lost 0.001
      backofflock simulate --suggest -n 100 --hold 0.05
      backofflock simulate -n 8 --seconds 1 --gantt - --output chart.svg

    The JSON document, times in seconds:

    \b
      version       of backofflock
      scenario      what is simulated, times as text
      seed, runs
      interrupted   true after Ctrl-C: only finished schedules are listed
      schedules     a list, each with schedule, utilisation, rule_of_thumb, elapsed,
                    acquisitions, wait_p50, wait_p99, wait_longest, fairness, waiters,
                    tries, nap, commands, server_busy, unanswered; with --suggest
                    also why it is listed

    Exit status: 0; 2 for a bad value; 130 after Ctrl-C.
    """  # noqa: D301 - the backspaces keep lines as they are
    whole_number("--runs", runs, 1, 10_000)
    if as_json and gantt == "-":
        raise BadValue("--gantt - and --json exclude each other: the picture is for people")
    holds = _time("--hold", hold)
    server = _server(
        remote=remote,
        rtt=rtt,
        capacity=capacity,
        lost=lost,
        processes=processes,
        request_timeout=request_timeout,
    )
    if fair_after is None and wake:
        fair_after = 0.0
    try:
        scenario = simulation.Scenario(
            contenders=contenders,
            hold=holds,
            think=_time("--think", think),
            arrival=_read("--arrival", simulation.Arrival.parse, arrival),
            rounds=rounds,
            seconds=60.0 if seconds is None and rounds is None else seconds,
            late=_time("--late", late),
            wake=wake,
            fair_after=fair_after,
            remote=server,
        )
    except BadValue:
        raise
    except ValueError as error:
        raise BadValue(_as_option(error)) from None
    named = [read_schedule(text) for text in schedules or []]
    for schedule in named:
        if schedule.gives_up:
            raise BadValue(f"{schedule} gives up; add ' then ...', so that its delays do not end")
    pictures = Pictures(output, gantt, scenario)
    if suggest:
        candidates = simulation.candidates(scenario)
        chosen = [*named, *(each for each in candidates if each not in named)]
    else:
        chosen = named or default_schedules(holds.mean)
    rows, interrupted = _simulated(chosen, scenario, seed, runs, show=not as_json)
    if suggest and not interrupted:
        rows = _suggested(rows, named)
    if as_json:
        print_json(rows, scenario, seed, runs, interrupted=interrupted)
    else:
        print_table(
            rows, scenario, seed, runs, len(chosen), suggest=suggest, interrupted=interrupted
        )
    if interrupted:
        raise typer.Exit(130)
    pictures.draw(rows, seed)


def _as_option(error: ValueError) -> str:
    """Return the sentence of a bad field of a scenario with the name of its option."""
    text = str(error)
    names = [field.name for kind in _FIELDS for field in fields(kind)]
    for name in sorted(names, key=len, reverse=True):  # request_timeout before timeout
        text = re.sub(rf"^{name}\b|(?<= and ){name}\b", f"--{name.replace('_', '-')}", text)
    return text


def _server(*, remote: bool, rtt: str | None, **given: float | None) -> simulation.Remote | None:
    named = [name for name, value in (("rtt", rtt), *given.items()) if value is not None]
    if not remote:
        if named:
            option = "--" + named[0].replace("_", "-")
            raise BadValue(f"{option} is of a lock on a server: add --remote")
        return None
    kept = {name: value for name, value in given.items() if value is not None}
    trip = _REMOTE.rtt if rtt is None else _time("--rtt", rtt)
    try:
        return simulation.Remote(rtt=trip, **kept)  # type: ignore[arg-type]
    except ValueError as error:
        raise BadValue(_as_option(error)) from None


def _simulated(
    schedules: Sequence[Schedule],
    scenario: simulation.Scenario,
    seed: int,
    runs: int,
    *,
    show: bool,
) -> tuple[list[Row], bool]:
    """Return a row for each schedule that was finished, and whether Ctrl-C came in between."""
    rows: list[Row] = []
    bar = Bar(len(schedules), show)
    try:
        with bar.shown():
            for schedule in schedules:
                bar.next(schedule)
                outcome = simulation.simulate(
                    schedule, scenario, seed=seed, runs=runs, progress=bar.tell
                )
                rows.append(Row(schedule, outcome, _rule(outcome, scenario)))
                bar.finish()
    except KeyboardInterrupt:
        return rows, True
    return rows, False


def _rule(outcome: simulation.Outcome, scenario: simulation.Scenario) -> float:
    processes = None if scenario.remote is None else scenario.remote.processes
    pollers = min(outcome.waiters, processes or math.inf)
    return simulation.rule_of_thumb(outcome.nap, pollers, scenario.hold.mean)


def _suggested(rows: Sequence[Row], named: Sequence[Schedule]) -> list[Row]:
    best = simulation.best_of([(row.schedule, row.outcome) for row in rows])
    whys = {schedule: [why] for schedule, why in best}
    for schedule in named:
        whys.setdefault(schedule, []).insert(0, "yours")
    chosen = [
        Row(row.schedule, row.outcome, row.rule, ", ".join(whys[row.schedule]))
        for row in rows
        if row.schedule in whys
    ]
    return sorted(chosen, key=lambda row: -row.outcome.utilisation)
