"""The options, and what a run does with them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import typer

from ..bars import Bar, judge
from ..command import write_json
from ..environment import environment
from ..options import (
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
from ..peers import Peer
from ..runner import Step, plan
from ..samples import Sample
from ..selection import NoSuchName, select
from .bars import BARS
from .cells import CELLS, FleetCell
from .crew import Crew
from .measure import measure
from .peers import all_peers
from .screen import Screen
from .servers import Servers

__all__ = ["run"]

EXAMPLES = """Examples:

\b
  python -m benchmarks.fleet --check --output benchmarks/fleet
  python -m benchmarks.fleet --quick --check
  python -m benchmarks.fleet --only 'redis/*/uncontended' --rounds 10
  python -m benchmarks.fleet --only redis/asyncio/100 --only DistributedLock
  python -m benchmarks.fleet --only file --json -

It needs what the extras bench and test bring, and starts the servers by itself."""

OVERHEAD = 0.25
"""Seconds of a sample besides its own, about: setting up, the last contenders, closing."""

app = application()


@dataclass(frozen=True)
class Outputs:
    """Where the results go, besides the screen."""

    check: bool
    output: Path | None
    to_json: Path | None


@app.command(epilog=EXAMPLES)
def fleet(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Only this workload, such as redis or file/asyncio/100, or only this peer, such "
            "as 'filelock*'. May be given again and again. A workload's rest and a peer's part may "
            "be *.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A few minutes: what the bars need, in fewer rounds."),
    ] = False,
    rounds: Rounds = None,
    check: Check = False,
    output: Output = None,
    to_json: Json = None,
    listing: Listing = False,
) -> int:
    """Measure the distributed locks and their peers side by side, and compare with the bars."""
    peers = all_peers()
    try:
        found, chosen = select(only or (), CELLS, peers)
    except NoSuchName as error:
        raise typer.BadParameter(str(error), param_hint="--only") from None
    cells = cast("list[FleetCell]", found)
    steps = plan(
        cells,
        chosen,
        number_of_rounds(rounds, quick),
        BARS,
        quick=quick,
        everybody=len(chosen) < len(peers),
    )
    bars = bars_about(BARS, steps, check)
    if listing:
        _print_list(cells, chosen, steps)
        return 0
    if output is not None:
        from . import charts  # says that matplotlib is missing before the work, not after it

        assert charts
        output.mkdir(parents=True, exist_ok=True)
    return _measure(steps, chosen, bars, Outputs(check, output, to_json))


def _measure(
    steps: Sequence[Step], peers: Sequence[Peer], bars: Sequence[Bar], outputs: Outputs
) -> int:
    facts = environment(peers)
    samples: list[Sample] = []
    screen = Screen(quiet=outputs.to_json == Path("-"))
    interrupted = False
    missing: dict[str, str] = {}
    try:
        with ExitStack() as stack:
            servers = stack.enter_context(Servers({_backend(step) for step in steps}))
            missing = servers.missing
            facts["servers"] = ", ".join(servers.versions())
            screen.open(facts, peers)
            for backend, reason in missing.items():
                screen.complain(f"{backend} is left out: {reason}")
            steps = [step for step in steps if _backend(step) in servers]
            crew = stack.enter_context(Crew())
            if steps:
                advance = stack.enter_context(screen.progress(steps))
                for sample in measure(steps, crew, servers):
                    samples.append(sample)
                    advance(sample)
    except KeyboardInterrupt:
        interrupted = True
    verdicts = judge(samples, bars)
    screen.close(samples, verdicts, interrupted)
    if outputs.to_json is not None:
        write_json(outputs.to_json, facts, samples, verdicts, interrupted)
    if outputs.output is not None:
        from .report import write_report

        command = f"python -m benchmarks.fleet {shlex.join(without_json(_ARGUMENTS))}".strip()
        write_report(outputs.output, command, facts, peers, missing, samples, verdicts, interrupted)
    if interrupted:
        return 130
    return int(outputs.check and any(verdict.status == "missed" for verdict in verdicts))


def _backend(step: Step) -> str:
    return cast("FleetCell", step.cell).backend


def _print_list(cells: Sequence[FleetCell], peers: Sequence[Peer], steps: Sequence[Step]) -> None:
    print("workloads:")
    for cell in cells:
        print(f"  {cell.id:<32} {cell.about}")
    print("peers:")
    for peer in peers:
        state = f"missing: {peer.missing}" if peer.missing else ", ".join(sorted(peer.hosts))
        print(f"  {peer.name:<45} {state}")
    seconds = sum(step.cost + OVERHEAD for step in steps)
    print(f"{len(steps)} samples, about {seconds / 60:.1f} minutes")


_ARGUMENTS: list[str] = []


def run(args: list[str] | None = None) -> int:
    """Run the command line and return its exit status; errors are one sentence on stderr."""
    _ARGUMENTS[:] = sys.argv[1:] if args is None else args
    return run_application(app, "python -m benchmarks.fleet", _ARGUMENTS)
