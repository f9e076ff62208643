"""``backofflock schedule``: the delays of schedules, as figures and drawn."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from backofflock import __version__

from . import schedule_chart
from .curves import DRAWS, Band, Curve, curve_of
from .schedule_table import STYLES, figures, keyed, legend
from .settings import BadValue, read_schedule, whole_number
from .text_chart import Line, draw

__all__ = ["schedule"]

_MOST_RETRIES = 1000
_WIDTH = 80
"""Columns where there is no terminal: that of another says nothing about this stream."""


def schedule(
    schedules: Annotated[
        list[str],
        typer.Argument(
            metavar="SCHEDULE ...",
            default_factory=list,
            show_default=False,
            help="What to show: linear:initial=0.3, constant:initial=0..1,jitter=0.5, ...",
        ),
    ],
    retries: Annotated[
        int, typer.Option("--retries", "-n", help="How many retries to show, from retry 0 on.")
    ] = 11,
    seed: Annotated[int, typer.Option(help="Seed of the random delays.")] = 1,
    log: Annotated[bool, typer.Option("--log", help="Draw seconds on a logarithmic axis.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help='Draw the chart into FILE too, .png or .svg. Needs the extra "plot".',
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Show the delays of schedules side by side, and what they add up to.

    Retry k = 0, 1, 2 ... follows a failed try. What is shown is the schedule alone: tries take no
    time, and nobody cuts a nap short, as a lock does that wakes its waiters. Where delays are
    random, by jitter or by a range, three figures stand for many acquisitions: 5, 50 and 95 of a
    hundred slept less. "ends" and x: no more retries, the waiter gives up.

    A schedule is written as a name and its fields, times in seconds; the same text works for run
    and demo:

    \b
      constant linear quadratic fibonacci    initial, cap, jitter
      polynomial                             the same, power
      exponential                            the same, factor
      decorrelated                           initial, cap, factor
      spin                                   no delay at all
      sequence                               seconds=(0.1,0.5), jitter
      initial=0..1                           each acquisition draws its own
      cap=none                               no cap
      take=5                                 give up after 5 retries
      spin:take=3 then linear:initial=0.1    one after the other

    For example:

    \b
      backofflock schedule linear:initial=0.3 quadratic:initial=0.3
      backofflock schedule exponential:initial=0.01,cap=1 decorrelated --log
      backofflock schedule -n 30 constant:initial=0..1 linear:initial=0..1,cap=5
      backofflock schedule "spin:take=3 then fibonacci:initial=0.1,take=5"
      backofflock schedule exponential --output chart.svg
      backofflock schedule exponential --json > exponential.json

    The JSON document, times in seconds:

    \b
      version       of backofflock
      settings      retries, seed, draws (acquisitions behind a percentile)
      schedules     a list, each with schedule (its text),
                    random (whether acquisitions differ),
                    gives_up (whether it ends), goes_on (beyond these retries),
                    delay (before retry k), waited (in all, at retry k):
                    each p5, p50, p95, lists by k

    Exit status: 0; 2 for a bad value; 130 after Ctrl-C.
    """  # noqa: D301 - the backspaces keep lines as they are
    whole_number("--retries", retries, 1, _MOST_RETRIES)
    if not schedules:
        raise BadValue("a schedule is missing: backofflock schedule linear:initial=0.3 ...")
    if len(schedules) > len(STYLES):
        raise BadValue(f"at most {len(STYLES)} schedules can be told apart, not {len(schedules)}")
    wanted = [read_schedule(text) for text in schedules]
    if output is not None:
        schedule_chart.check(output)
    try:
        curves = [curve_of(one, retries, seed) for one in wanted]
        if output is not None:
            schedule_chart.write(output, curves, log=log)
        if as_json:
            print(json.dumps(_document(curves, retries, seed), indent=2), flush=True)
        else:
            _print(curves, sys.stdout, log=log)
            if output is not None:
                print(f"drawn into {output}", flush=True)
    except KeyboardInterrupt:  # typer's versions differ in what they make of it
        raise typer.Exit(130) from None


def _document(curves: Sequence[Curve], retries: int, seed: int) -> dict[str, object]:
    return {
        "version": __version__,
        "settings": {"retries": retries, "seed": seed, "draws": DRAWS},
        "schedules": [
            {
                "schedule": str(curve.schedule),
                "random": curve.random,
                "gives_up": curve.gives_up,
                "goes_on": curve.goes_on,
                "delay": _lists(curve.delays),
                "waited": _lists(curve.waits),
            }
            for curve in curves
        ],
    }


def _lists(bands: Sequence[Band]) -> dict[str, list[float]]:
    return {name: [getattr(band, name) for band in bands] for name in Band._fields}


def _print(curves: Sequence[Curve], stream: TextIO, *, log: bool) -> None:
    """Print all of it: as wide as the terminal, or 80 columns without colours elsewhere."""
    if stream.isatty():
        console = Console(file=stream, highlight=False)
        for part in _parts(curves, console, log=log):
            console.print(part)
        return
    console = Console(
        file=stream, force_terminal=False, color_system=None, width=_WIDTH, highlight=False
    )
    with console.capture() as captured:
        for part in _parts(curves, console, log=log):
            console.print(part)
    for line in captured.get().splitlines():
        print(line.rstrip(), file=stream)
    stream.flush()


def _parts(curves: Sequence[Curve], console: Console, *, log: bool) -> Iterator[RenderableType]:
    yield from legend(curves)
    for title, bands in (
        ("Delay before retry k, in seconds", [curve.delays for curve in curves]),
        ("Slept in all when retry k is made, in seconds", [curve.waits for curve in curves]),
    ):
        lines = [
            Line(letter, style, band, ends=curve.ends_here)
            for (letter, style, curve), band in zip(keyed(curves), bands, strict=True)
        ]
        yield Text(f"\n{title}", "bold")
        yield from figures(curves, bands, console)
        yield from draw(lines, console.width, log=log, ascii_only=console.options.ascii_only)
