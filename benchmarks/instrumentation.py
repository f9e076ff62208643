"""``python -m benchmarks.instrumentation``: what listeners cost who enters a free lock.

Batches of entries take turns, in an order drawn anew each round, and each is compared with the
first of the same round:

- a lock that no listener can reach: of a class that brings its own slot for the key, so that
  `instrument` does not replace it. It is what the lock would be without any instrumentation;
- the lock itself, while nobody listens;
- the same lock with a listener that does nothing, and with each one that is ready-made: logging
  with its level off, Prometheus, and OpenTelemetry without an SDK. One whose library is not
  installed is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import repeat
from time import perf_counter

from backofflock import BackoffLock, LockEvent, ThreadBackoffLock, instrument

from .stats import Spread, spread

__all__ = ["BATCH", "CASES", "main", "measured"]

BATCH = 5_000
"""Entries between two looks at the clock."""

Listener = Callable[[LockEvent], object]


class OutOfReach(BackoffLock):
    """A `BackoffLock` whose key no listener reaches."""

    __slots__ = ("_key",)


class ThreadOutOfReach(ThreadBackoffLock):
    """A `ThreadBackoffLock` whose key no listener reaches."""

    __slots__ = ("_key",)


class Ignore:
    """Listens and does nothing."""

    def __call__(self, event: LockEvent) -> None:
        """Do nothing."""


CASES = {
    "out of reach of listeners": None,
    "nobody listens": None,
    "a listener that does nothing": ("benchmarks.instrumentation", "Ignore"),
    "LoggingListener, level off": ("backofflock.instrumentation.logging", "LoggingListener"),
    "PrometheusListener": ("backofflock.instrumentation.prometheus", "PrometheusListener"),
    "OpenTelemetryListener, no SDK": (
        "backofflock.instrumentation.opentelemetry",
        "OpenTelemetryListener",
    ),
}
"""What is measured, and where the listener is."""


def listeners() -> dict[str, Listener | None]:
    """Return the cases whose libraries are installed, each with its listener."""
    found: dict[str, Listener | None] = {}
    for case, place in CASES.items():
        if place is None:
            found[case] = None
            continue
        module, name = place
        try:
            found[case] = getattr(importlib.import_module(module), name)()
        except ModuleNotFoundError:
            continue
    return found


def enter_in_thread(lock: ThreadBackoffLock) -> float:
    """Return the seconds an entry takes by ``with``."""
    began = perf_counter()
    for _ in repeat(None, BATCH):
        with lock:
            pass
    return (perf_counter() - began) / BATCH


async def _enter_in_task(lock: BackoffLock) -> float:
    began = perf_counter()
    for _ in repeat(None, BATCH):
        async with lock:
            pass
    return (perf_counter() - began) / BATCH


def measured(rounds: int, seed: int = 1) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of an entry, by face and case, one of each round."""
    rng = random.Random(seed)
    cases = listeners()
    times: dict[str, dict[str, list[float]]] = {
        face: {case: [] for case in cases} for face in ("ThreadBackoffLock", "BackoffLock")
    }
    out_of_reach = next(iter(CASES))
    with asyncio.Runner() as runner:
        for number in range(rounds + 1):
            for case in rng.sample(list(cases), len(cases)):
                listener = cases[case]
                far = case == out_of_reach
                with nullcontext() if listener is None else instrument(listener):
                    threads = enter_in_thread(ThreadOutOfReach() if far else ThreadBackoffLock())
                    lock = OutOfReach() if far else BackoffLock()
                    tasks = runner.run(_enter_in_task(lock))
                if number:  # the first round warms up
                    times["ThreadBackoffLock"][case].append(threads)
                    times["BackoffLock"][case].append(tasks)
    return times


def _nanoseconds(times: Spread) -> str:
    low, median, high = (
        f"{seconds * 1e9:.0f}" for seconds in (times.low, times.median, times.high)
    )
    return f"{median:>7} ns  ({low} to {high})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instrumentation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=300, help="rounds to run (%(default)s)")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    print(f"CPython {sys.version.split()[0]}, rounds: {options.rounds}, entries a batch: {BATCH}")
    for face, by_case in measured(options.rounds).items():
        first = next(iter(by_case.values()))
        print(f"\n{face}, an entry: median (quartiles), and beyond the first")
        for case, times in by_case.items():
            beyond = spread([mine - base for mine, base in zip(times, first, strict=True)])
            more = "" if times is first else f"  {_nanoseconds(beyond)}"
            print(f"  {case:30}{_nanoseconds(spread(times)):32}{more}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
