"""The options, and what a run does with them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .bars import Bar, Verdict, bars_for, judge
from .cells import CELLS, SECTIONS, Cell
from .environment import environment
from .options import (
    Check,
    Json,
    Listing,
    Output,
    Rounds,
    application,
    bars_about,
    number_of_rounds,
    run_application,
    without_json,
)
from .peers import Peer, all_peers
from .runner import Step, measure, plan
from .samples import Sample
from .screen import Screen
from .selection import NoSuchName, select
from .variants import variants

__all__ = ["run", "write_json"]

EXAMPLES = """Examples:

\b
  python -m benchmarks --check --output benchmarks
  python -m benchmarks --quick --check
  python -m benchmarks --only 'tasks/asyncio/*/turn' --only BackoffLock --only asyncio.Lock
  python -m benchmarks --only threads/8/empty --rounds 15 --json -
  python -m benchmarks --only 'threads/*/cpu' --only 'ThreadBackoffLock*' --only threading.Lock
"""

app = application()


@app.command(epilog=EXAMPLES)
def benchmarks(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Only this workload, such as tasks or threads/8/empty, or only this peer, such as "
            "'anyio*'. May be given again and again; a workload's rest, a peer's part may be *.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Less than a minute: what the bars need, in fewer, shorter rounds."
        ),
    ] = False,
    rounds: Rounds = None,
    check: Check = False,
    output: Output = None,
    to_json: Json = None,
    listing: Listing = False,
) -> int:
    """Measure backofflock and its peers side by side, and compare with the bars."""
    peers = all_peers()
    try:
        cells, chosen = select(only or (), CELLS, (*peers, *variants()))
    except NoSuchName as error:
        raise typer.BadParameter(str(error), param_hint="--only") from None
    steps = plan(
        cells,
        chosen,
        number_of_rounds(rounds, quick),
        bars_for(),
        quick=quick,
        everybody=chosen != list(peers),
    )
    bars = bars_about(bars_for(), steps, check)
    if listing:
        _print_list(cells, chosen, steps)
        return 0
    if output is not None:
        from . import charts  # says that matplotlib is missing before the work, not after it

        assert charts
        output.mkdir(parents=True, exist_ok=True)
    return _measure(steps, chosen, bars, check, output, to_json)


def _measure(
    steps: Sequence[Step],
    peers: Sequence[Peer],
    bars: Sequence[Bar],
    check: bool,
    output: Path | None,
    to_json: Path | None,
) -> int:
    facts = environment(peers)
    samples: list[Sample] = []
    screen = Screen(quiet=to_json == Path("-"))
    interrupted = False
    screen.open(facts, peers)
    try:
        with screen.progress(steps) as advance:
            for sample in measure(steps):
                samples.append(sample)
                advance(sample)
    except KeyboardInterrupt:
        interrupted = True
    verdicts = judge(samples, bars)
    screen.close(samples, verdicts, interrupted)
    if to_json is not None:
        write_json(to_json, facts, samples, verdicts, interrupted)
    if output is not None:
        from .report import write_report

        command = "python -m benchmarks " + shlex.join(without_json(_ARGUMENTS))
        write_report(output, command.strip(), facts, peers, samples, verdicts, interrupted)
    if interrupted:
        return 130
    return int(check and any(verdict.status == "missed" for verdict in verdicts))


def _print_list(cells: Sequence[Cell], peers: Sequence[Peer], steps: Sequence[Step]) -> None:
    print("workloads:")
    for cell in cells:
        thinking = ", with thinking in between" if cell.think and cell.section != "random" else ""
        print(f"  {cell.id:<28} {SECTIONS[cell.section]}{thinking}")
    print("peers:")
    for peer in peers:
        state = f"missing: {peer.missing}" if peer.missing else ", ".join(sorted(peer.hosts))
        print(f"  {peer.name:<37} {state}")
    print("only by name, our locks with other defaults:")
    named = {peer.name for peer in peers}
    for peer in variants():
        if peer.name not in named:
            print(f"  {peer.name}")
    seconds = sum(step.cost for step in steps)
    print(f"{len(steps)} samples, about {seconds / 60:.1f} minutes")


def write_json(
    path: Path,
    facts: dict[str, str],
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    interrupted: bool,
) -> None:
    """Write all that was measured to a file, or to stdout."""
    document: dict[str, Any] = {
        "environment": facts,
        "interrupted": interrupted,
        "bars": [
            {
                **asdict(verdict.bar),
                "status": verdict.status,
                "reached": verdict.reached and asdict(verdict.reached),
                "reached_alone": verdict.alone and asdict(verdict.alone),
            }
            for verdict in verdicts
        ],
        "samples": [sample.record() for sample in samples],
    }
    text = json.dumps(document, indent=1)
    if path == Path("-"):
        print(text)
    else:
        path.write_text(text + "\n")


_ARGUMENTS: list[str] = []


def run(args: list[str] | None = None) -> int:
    """Run the command line and return its exit status; errors are one sentence on stderr."""
    _ARGUMENTS[:] = sys.argv[1:] if args is None else args
    return run_application(app, "python -m benchmarks", _ARGUMENTS)
