"""The options, and what a run does with them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.main import get_command

from .bars import Bar, Verdict, bars_for, judge
from .cells import CELLS, SECTIONS, Cell
from .environment import environment
from .peers import Peer, all_peers
from .runner import Step, measure, plan
from .samples import Sample
from .screen import Screen
from .selection import NoSuchName, select

__all__ = ["run"]

# Typer carries a copy of click in some versions and imports it in others; the base of the errors
# that are meant for the user is reached from the one class it exports in all of them.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]

EXAMPLES = """Examples:

\b
  python -m benchmarks --check --output benchmarks
  python -m benchmarks --quick --check
  python -m benchmarks --only 'tasks/asyncio/*/turn' --only BackoffLock --only asyncio.Lock
  python -m benchmarks --only threads/8/empty --rounds 15 --json -
"""

ROUNDS, QUICK_ROUNDS = 5, 2

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    rounds: Annotated[
        int | None,
        typer.Option(metavar="N", help=f"Rounds of all peers; {ROUNDS}, or {QUICK_ROUNDS} quick."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a bar is missed.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write RESULTS.md and its charts there."),
    ] = None,
    to_json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write everything as JSON; - is stdout."),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="Print what would be measured, and how long it takes.")
    ] = False,
) -> int:
    """Measure backofflock and its peers side by side, and compare with the bars."""
    peers = all_peers()
    try:
        cells, chosen = select(only or (), CELLS, peers)
    except NoSuchName as error:
        raise typer.BadParameter(str(error), param_hint="--only") from None
    if rounds is not None and rounds < 1:
        raise typer.BadParameter(f"{rounds} is less than 1", param_hint="--rounds")
    steps = plan(
        cells,
        chosen,
        rounds or (QUICK_ROUNDS if quick else ROUNDS),
        bars_for(),
        quick=quick,
        everybody=len(chosen) < len(peers),
    )
    if not steps:
        raise typer.BadParameter("nothing is left to measure", param_hint="--only")
    taken = {(step.cell.id, step.peer.name) for step in steps}
    bars = [bar for bar in bars_for() if any(cell == bar.cell for cell, _ in taken)]
    if check and not any(
        {(bar.cell, bar.peer), (bar.cell, bar.against or bar.peer)} <= taken for bar in bars
    ):
        raise typer.BadParameter("no bar is about what is selected", param_hint="--check")
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
        _write_json(to_json, facts, samples, verdicts, interrupted)
    if output is not None:
        from .report import write_report

        command = "python -m benchmarks " + shlex.join(_ARGUMENTS)
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
        print(f"  {peer.name:<34} {state}")
    seconds = sum(step.cost for step in steps)
    print(f"{len(steps)} samples, about {seconds / 60:.1f} minutes")


def _write_json(
    path: Path,
    facts: dict[str, str],
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    interrupted: bool,
) -> None:
    document: dict[str, Any] = {
        "environment": facts,
        "interrupted": interrupted,
        "bars": [
            {
                **asdict(verdict.bar),
                "status": verdict.status,
                "reached": None if verdict.reached is None else asdict(verdict.reached),
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
    try:
        status = get_command(app).main(
            args=list(_ARGUMENTS), prog_name="python -m benchmarks", standalone_mode=False
        )
    except typer.Abort:
        return 130
    except _UsageError as error:
        usage = cast("typer.BadParameter", error)
        return _complain(usage.format_message(), usage.exit_code)
    except OSError as error:
        return _complain(f"cannot go on: {error}", 2)
    return status if isinstance(status, int) else 0


def _complain(sentence: str, status: int) -> int:
    print(f"benchmarks: {' '.join(sentence.split())}", file=sys.stderr)
    return status
