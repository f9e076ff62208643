"""The options, and what a run's findings mean for the exit status."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from random import SystemRandom
from typing import NoReturn

from backofflock import BackoffLock, ThreadBackoffLock

from .cast import Options
from .report import record, table
from .supervisor import Run

__all__ = ["main"]

DESCRIPTION = """Soak one ThreadBackoffLock and one BackoffLock: threads, two asyncio loops and a
trio run contend for them, while tasks are cancelled, timeouts pass, loops are closed or blocked,
the process forks, and garbage is collected. Reports the sections entered, overlaps, lost keys, the
longest waits and the growth of memory. The same seed gives every actor the same program; how the
programs interleave is up to the machine, so a fault need not come back at the first try."""

EPILOG = """exit status: 0 clean, 1 something was wrong, 2 a bad option, 130 Ctrl-C"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"soak: {message}\n")


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0.0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of minutes above 0, not {text!r}")
    return minutes


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {least} to {most}, not {text!r}"
            )
        return number

    return parse


def _options(args: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m tests.soak", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False
    )
    default = Options()
    parser.add_argument(
        "--minutes",
        type=_minutes,
        default=default.minutes,
        metavar="N",
        help=f"how long; a quarter is the warm-up (default {default.minutes:g})",
    )
    parser.add_argument(
        "--seed",
        type=_whole(0, 2**64),
        metavar="N",
        help="the seed of all programs (default: drawn, and told)",
    )
    parser.add_argument(
        "--threads",
        type=_whole(1, 256),
        default=default.threads,
        metavar="N",
        help=f"threads that contend (default {default.threads})",
    )
    parser.add_argument(
        "--tasks",
        type=_whole(1, 1000),
        default=default.tasks,
        metavar="N",
        help=f"tasks of each loop that contend for each lock (default {default.tasks})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there too")
    return parser.parse_args(args)


def main(
    args: Sequence[str] | None = None,
    *,
    shared: Callable[[], ThreadBackoffLock] = ThreadBackoffLock,
    owned: Callable[[], BackoffLock] = BackoffLock,
) -> int:
    """Run a soak and return its exit status; `shared` and `owned` make the locks."""
    given = _options(args)
    if given.json is not None:
        try:
            given.json.touch()  # before the minutes, not after them
        except OSError as error:
            print(f"soak: --json: cannot write {given.json}: {error.strerror}", file=sys.stderr)
            return 2
    seed = SystemRandom().randrange(2**32) if given.seed is None else given.seed
    options = Options(given.minutes, seed, given.threads, given.tasks)
    # That a process with threads is forked is part of the test.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    run = Run(options, shared, owned, _progress())
    try:
        # Told first, for a run that does not live to tell.
        print(f"soak of {given.minutes:g} minutes with seed {seed}", flush=True)
        run.perform()
    except KeyboardInterrupt:  # a second one, while everybody is being stopped
        run.interrupted = True
    found = record(run)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(table(found))
    if found["problems"]:
        print(f"soak: not clean; the programs come back with --seed {seed}", file=sys.stderr)
        return 1
    return 130 if run.interrupted else 0


def _progress() -> Callable[[str], None]:
    """Return what tells people how far it is: nothing unless stderr is a terminal."""
    if not sys.stderr.isatty():
        return lambda line: None
    told = time.monotonic()

    def tell(line: str) -> None:
        nonlocal told
        if time.monotonic() - told > 0.5:
            told = time.monotonic()
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    return tell
