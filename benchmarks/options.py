"""What the command lines of both suites share: their options, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, cast

import typer
from typer.main import get_command

from .bars import Bar
from .runner import Step

__all__ = [
    "QUICK_ROUNDS",
    "ROUNDS",
    "Check",
    "Json",
    "Listing",
    "Output",
    "Rounds",
    "application",
    "bars_about",
    "number_of_rounds",
    "run_application",
    "without_json",
]

# Typer carries a copy of click in some versions and imports it in others; the base of the errors
# that are meant for the user is reached from the one class it exports in all of them.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]

ROUNDS, QUICK_ROUNDS = 5, 2

Rounds = Annotated[
    int | None,
    typer.Option(metavar="N", help=f"Rounds of all peers; {ROUNDS}, or {QUICK_ROUNDS} quick."),
]
Check = Annotated[bool, typer.Option("--check", help="Exit with 1 if a bar is missed.")]
Output = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write RESULTS.md and its charts there.")
]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write everything as JSON; - is stdout."),
]
Listing = Annotated[
    bool, typer.Option("--list", help="Print what would be measured, and how long it takes.")
]


def application() -> typer.Typer:
    """Return a command line without commands."""
    return typer.Typer(
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def number_of_rounds(given: int | None, quick: bool) -> int:
    """Return how many rounds there are."""
    if given is not None and given < 1:
        raise typer.BadParameter(f"{given} is less than 1", param_hint="--rounds")
    return given or (QUICK_ROUNDS if quick else ROUNDS)


def bars_about(bars: Collection[Bar], steps: Sequence[Step], check: bool) -> list[Bar]:
    """Return the bars that are about what is measured; with `check` there must be one."""
    if not steps:
        raise typer.BadParameter("nothing is left to measure", param_hint="--only")
    taken = {(step.cell.id, step.peer.name) for step in steps}
    found = [bar for bar in bars if any(cell == bar.cell for cell, _ in taken)]
    if check and not any(
        {(bar.cell, bar.peer), (bar.cell, bar.against or bar.peer)} <= taken for bar in found
    ):
        raise typer.BadParameter("no bar is about what is selected", param_hint="--check")
    return found


def without_json(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without ``--json``: it changes nothing of what is measured."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument != "--json" and not argument.startswith("--json="):
            kept.append(argument)
        skip = argument == "--json"
    return kept


def run_application(app: typer.Typer, name: str, arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status; errors are one sentence on stderr."""
    try:
        status = get_command(app).main(args=list(arguments), prog_name=name, standalone_mode=False)
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
