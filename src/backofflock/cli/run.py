"""``backofflock run``: hold a lock while a command runs."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shlex
import socket
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from typer.core import TyperCommand

from backofflock import (
    FLEET_SCHEDULE,
    AcquireTimeout,
    Backend,
    BackendRefused,
    BackendUnavailable,
    DistributedLock,
    LeaseLost,
    WaitDetails,
    connect,
)

from .child import NotRunnable, refuse_to_look_for
from .settings import BadValue, read_schedule
from .supervise import Supervisor

__all__ = ["RunCommand", "Status", "run"]

_BACKEND = "BACKOFFLOCK_BACKEND"
_CLOSING = 2.0
"""Seconds that connections may take to be closed."""


class Status(IntEnum):
    """What it exits with where the command has no say; the first three as in ``sysexits.h``."""

    UNAVAILABLE = 69
    NOT_IN_TIME = 75
    REFUSED = 78
    LOST = 79
    INTERRUPTED = 130


def state_directory() -> Path:
    """Return where the locks of this user are kept if no backend is given."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME", ""))
        if not base.is_absolute():  # to be ignored then, says the specification
            base = home / ".local" / "state"
    if not base.is_absolute():
        raise RuntimeError(f"the home directory {str(home)!r} is no absolute path")
    return base / "backofflock" / "locks"


def _backend(url: str | None) -> Backend:
    if url is None and os.environ.get(_BACKEND) != "":
        try:
            directory = state_directory()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return connect(directory.as_uri())
        except (OSError, RuntimeError) as error:  # cannot be made, or there is no home
            raise BadValue(
                f"there is no place for the locks of this user ({error}): give a --backend"
            ) from error
    if not url:  # what was to be filled in, and was not: that would be a lock of this machine alone
        raise BadValue(f"--backend, or {_BACKEND}, is empty: leave it out for files of this user")
    try:
        return connect(url)
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        raise BadValue(f"--backend: {error}") from None


def _command(name: str, words: Sequence[str]) -> list[str]:
    """Return the command after the ``--``."""
    if not name:
        raise BadValue("the name of the lock is missing: backofflock run NAME -- command ...")
    start, command = f"backofflock run {shlex.quote(name)}", list(words)
    if not command or command == ["--"]:
        raise BadValue(f"the command is missing: {start} -- command ...")
    if command[0] == "--":
        return command[1:]
    if "--" in command:
        raise BadValue(
            f"between NAME and -- stands {command[0]!r}: options come before NAME, and NAME is one "
            "word: backofflock run [options] NAME -- command ..."
        )
    raise BadValue(f"the command comes after --: {start} -- {shlex.join(command)}")


def _seconds(option: str, value: float, *, positive: bool = False) -> float:
    if not 0.0 <= value < math.inf or (positive and value == 0.0):  # NaN fails every comparison
        least = "above 0" if positive else "of 0 or more"
        raise BadValue(f"{option} must be a number of seconds {least}, not {value!r}")
    return value


def _say(sentence: str) -> None:
    """Tell the user, if anybody listens: what cannot be said must not end the command."""
    if sys.stderr is not None:  # print would take stdout, which is the command's
        with suppress(OSError):
            print(f"backofflock: {' '.join(sentence.split())}", file=sys.stderr, flush=True)


class _Warnings(logging.Handler):
    """Says what the lock warns of; of a loss the command line tells by itself."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:
            _say(record.getMessage())


@contextmanager
def _warnings_shown() -> Generator[None, None, None]:
    handler, logger = _Warnings(logging.WARNING), logging.getLogger("backofflock")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


async def _supervise(
    backend: Backend, name: str, command: Sequence[str], *, verbose: bool, grace: float, **how: Any
) -> int:
    # Who waits is shown as the name of the task.
    me = f"{socket.gethostname()}[{os.getpid()}]"
    task = asyncio.current_task()
    assert task is not None
    task.set_name(me)

    def whisper(sentence: str) -> None:
        if verbose:
            _say(f"{me} {sentence}")

    def on_wait(details: WaitDetails) -> None:
        left = "" if details.remaining is None else f", {details.remaining:.3f} s left"
        whisper(
            f"waits for {name!r}: attempt {details.attempt} failed after {details.waited:.3f} s, "
            f"next try in {details.delay:.3f} s{left}"
        )

    lock = DistributedLock(name, backend, on_wait=on_wait if verbose else None, **how)
    try:
        return await Supervisor(lock, command, grace, _say, whisper).run()
    finally:
        # The status of the command counts more than how a connection is closed.
        with anyio.move_on_after(_CLOSING, shield=True), suppress(Exception):
            await _close(backend)


async def _close(backend: Any) -> None:
    if hasattr(backend, "aclose"):
        await backend.aclose()
    elif hasattr(backend, "close"):
        backend.close()


class RunCommand(TyperCommand):
    """The command as it is parsed: its options end where NAME stands."""

    allow_interspersed_args = False

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the line of usage."""
        return ["[OPTIONS]", "NAME", "--", "COMMAND", "..."]


def run(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            default_factory=str,
            show_default=False,
            help="What all who want the lock know it by.",
        ),
    ],
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND ...",
            default_factory=list,
            show_default=False,
            help="What is run, with its arguments.",
        ),
    ],
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar=_BACKEND,
            show_default=False,
            help="Where the lock is kept: file:///directory, redis://, postgresql://, etcd://. "
            "By default files in the state directory of this user. Other users see the URL of a "
            "command in the list of processes: one with a password belongs into the variable.",
        ),
    ] = None,
    ttl: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="After so long without a sign of us another may have the lock; it is renewed "
            "every third of that.",
        ),
    ] = 30.0,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            show_default=False,
            help="Wait no longer for the lock: 0 for one try. By default for ever.",
        ),
    ] = None,
    schedule: Annotated[
        str,
        typer.Option(
            metavar="SCHEDULE",
            show_default=False,
            help="How long to sleep between tries: exponential:initial=0.05,cap=2, "
            "constant:initial=1, ...; `backofflock schedule` draws them. By default "
            f"{FLEET_SCHEDULE}.",
        ),
    ] = str(FLEET_SCHEDULE),
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="What a command gets between SIGTERM and SIGKILL when the lock is lost.",
        ),
    ] = 10.0,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show on stderr each wait, and what is held.")
    ] = False,
) -> None:
    """Hold the lock NAME while a command runs: on this machine, or on a fleet.

    It waits for the lock, runs the command, and gives the lock back when the command ends. What is
    typed and sent reaches the command: its input and output are ours, signals are forwarded. If the
    lock is lost meanwhile the command is ended. It finds the name of the lock in BACKOFFLOCK_NAME,
    and in BACKOFFLOCK_FENCE a number that grows with each holder.

    For example:

    \b
      backofflock run nightly -- ./report.sh --all
      backofflock run --timeout 0 sync -- rsync -a src/ dst/
      backofflock run --backend file:///var/lock/jobs --timeout 60 import -- ./import
      backofflock run --backend redis://cache:6379/0 --ttl 60 migrate -- ./migrate
      backofflock run --schedule constant:initial=5 -v deploy -- sh -c 'make && make deploy'

    Exit status: that of the command, 128 + n if signal n ended it; or

    \b
       69  the backend did not answer in time
       75  another has the lock: not acquired in time
       78  the backend refused: a password, a permission
       79  the lock was lost before the command had ended
      126  the command cannot be executed
      127  there is no such command
      128 + n  signal n ended the wait; 130 is Ctrl-C
        2  a bad argument
    """  # noqa: D301 - the backspaces keep lines as they are
    words = _command(name, command)
    how: dict[str, Any] = {
        "ttl": _seconds("--ttl", ttl, positive=True),
        "timeout": None if timeout is None else _seconds("--timeout", timeout),
        "grace": _seconds("--grace", grace),
        "schedule": read_schedule(schedule, "--schedule"),
        "verbose": verbose,
    }
    where = _backend(backend)
    with _warnings_shown():
        raise typer.Exit(_status(where, name, words, how))


def _status(backend: Backend, name: str, command: Sequence[str], how: dict[str, Any]) -> int:
    """Run it; return the exit status, and say why if it is not that of the command."""
    try:
        refuse_to_look_for(command[0])
        return asyncio.run(_supervise(backend, name, command, **how))
    except NotRunnable as error:
        _say(str(error))
        return error.status
    except AcquireTimeout as error:
        if isinstance(error.__cause__, BackendUnavailable):
            _say(f"{error}: {error.__cause__}")
            return Status.UNAVAILABLE
        _say(str(error))
        return Status.NOT_IN_TIME
    except BackendRefused as error:
        _say(str(error))
        return Status.REFUSED
    except LeaseLost:
        return Status.LOST
    except KeyboardInterrupt:  # before the signals were ours to forward
        return Status.INTERRUPTED
