"""``python -m benchmarks.imports``: what ``import backofflock`` costs beyond ``import asyncio``.

Fresh interpreters take turns, one that imports asyncio alone and one that imports backofflock,
which imports asyncio too. Each times its import by itself, so the start of Python is in neither;
both find their modules compiled, as after an installation. What counts is the median of the
differences: what slows the machine down for a while slows both of a pair.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from .stats import Spread, spread

__all__ = ["BAR", "differences", "main"]

BAR = 0.030
"""Seconds that the import may take beyond that of asyncio, what it depends on included."""

_TIMED = """
import time
began = time.perf_counter()
import {module}
print(time.perf_counter() - began)
"""


def differences(rounds: int) -> tuple[Spread, Spread]:
    """Return the seconds that asyncio took, and those that backofflock took beyond it."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for module in ("asyncio", "backofflock"):  # compiles them
            _seconds(module, environment)
        alone, beyond = [], []
        for _ in range(rounds):
            alone.append(_seconds("asyncio", environment))
            beyond.append(_seconds("backofflock", environment) - alone[-1])
    return spread(alone), spread(beyond)


def _seconds(module: str, environment: Mapping[str, str]) -> float:
    program = _TIMED.format(module=module)
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],  # -P: what is installed, not what lies around here
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _milliseconds(times: Spread) -> str:
    low, median, high = (
        f"{seconds * 1e3:.1f}" for seconds in (times.low, times.median, times.high)
    )
    return f"{median} ms (quartiles {low} to {high} ms)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if the bar is missed and that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="pairs to run (%(default)s)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the bar is missed")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    alone, beyond = differences(options.rounds)
    reached = beyond.median <= BAR
    print(
        f"CPython {sys.version.split()[0]}, anyio {version('anyio')}, pairs run: {options.rounds}"
    )
    print(f"import asyncio: {_milliseconds(alone)}")
    print(f"import backofflock, beyond that: {_milliseconds(beyond)}")
    print(f"bar: {BAR * 1e3:g} ms, {'reached' if reached else 'missed'}")
    return 1 if options.check and not reached else 0


if __name__ == "__main__":
    sys.exit(main())
