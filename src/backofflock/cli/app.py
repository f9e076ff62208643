"""The commands, and what they have in common: ``--version``, errors and exit statuses.

A subcommand is a function in a module of its own, added to `_COMMANDS`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, cast

import typer
from typer.core import TyperCommand
from typer.main import get_command

from backofflock import __version__

from .demo import demo
from .run import RunCommand
from .run import run as run_command
from .schedule import schedule
from .settings import BadValue
from .simulate import simulate

__all__ = ["app", "run"]

_COMMANDS: dict[Callable[..., object], type[TyperCommand]] = {
    demo: TyperCommand,
    run_command: RunCommand,
    schedule: TyperCommand,
    simulate: TyperCommand,
}

# Typer carries a copy of click in some versions and imports it in others; the base of the errors
# that are meant for the user is reached from the one class it exports in all of them.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]

app: typer.Typer = typer.Typer(
    name="backofflock",
    pretty_exceptions_enable=False,  # they print local variables
    rich_markup_mode=None,  # the frames leave too little room for the examples
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"backofflock {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """See the lock that tries, backs off and tries again at work."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


for _command, _kind in _COMMANDS.items():
    app.command(cls=_kind)(_command)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; errors are one sentence on stderr."""
    try:
        status = get_command(app).main(
            args=None if args is None else list(args),
            prog_name="backofflock",
            standalone_mode=False,
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    except BadValue as error:
        return _complain(str(error), 2)
    except _UsageError as error:
        usage = cast("typer.BadParameter", error)
        return _complain(usage.format_message(), usage.exit_code)
    except BrokenPipeError:  # whoever read has seen enough
        return 1
    except OSError as error:  # a full disk under stdout
        return _complain(f"cannot go on: {error.strerror or error}", 1)
    finally:
        _forget_what_cannot_be_written()
    return status if isinstance(status, int) else 0


def _complain(sentence: str, status: int) -> int:
    print(f"backofflock: {' '.join(sentence.split())}", file=sys.stderr)
    return status


def _forget_what_cannot_be_written() -> None:
    """Keep the interpreter from trying again at its end, and ending with a status of its own."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
