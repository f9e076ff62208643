"""The bars: what backofflock promises to reach beside its peers, as data, and whether it does."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .samples import Sample, values_of
from .stats import Spread, ratios, spread

__all__ = ["BARS", "Bar", "Verdict", "bars_for", "judge"]

TASKS = "BackoffLock"
SHARED = "ThreadBackoffLock"
FAST_ANYIO = "anyio.Lock(fast_acquire=True)"
ANY = ((3, 11), (3, 99))
NEWER = ((3, 12), (3, 99))
SLOW_CURRENT_TASK = ((3, 11), (3, 11))


@dataclass(frozen=True)
class Bar:
    """What `peer` has to reach in `cell`, beside another peer or, without one, for itself."""

    cell: str
    peer: str
    metric: str
    against: str | None
    most: bool
    """Whether the limit is the most it may be, or the least."""
    limit: float
    pythons: tuple[tuple[int, int], tuple[int, int]] = ANY
    alone: str = ""
    """The cell where one contender is alone, where that is the most that several can reach."""

    def reached_by(self, value: float) -> bool:
        """Return whether `value` is on the right side of the limit."""
        return value <= self.limit if self.most else value >= self.limit


@dataclass(frozen=True)
class Verdict:
    """A bar, and the median and quartiles of the rounds; None if it was not measured."""

    bar: Bar
    reached: Spread | None
    alone: Spread | None
    """What the lock can reach at the most: the same of one contender alone."""

    @property
    def status(self) -> str:
        """Reached, missed or not measured."""
        if self.reached is None:
            return "not measured"
        return "reached" if self.bar.reached_by(self.reached.median) else "missed"

    @property
    def shortfall(self) -> float:
        """How far it is from the limit, as a factor: above 1 for a miss."""
        if self.reached is None:
            return 0.0
        value, limit = self.reached.median, self.bar.limit
        if self.bar.most:
            return value / limit
        return limit / value if value else float("inf")


def _bars() -> list[Bar]:
    bars = [
        Bar("uncontended/asyncio", TASKS, "entry", "asyncio.Lock", True, 0.90, NEWER),
        Bar("uncontended/asyncio", TASKS, "entry", "asyncio.Lock", True, 1.7, SLOW_CURRENT_TASK),
        Bar("uncontended/asyncio", TASKS, "entry", FAST_ANYIO, True, 0.33),
        Bar("uncontended/asyncio", TASKS, "entry", "aiologic.Lock", True, 0.22),
        Bar("uncontended/trio", TASKS, "entry", "trio.Lock", True, 1.0),
        Bar("uncontended/threads", SHARED, "entry", "threading.Lock", True, 1.25),
        Bar("uncontended/threads", SHARED, "entry", "aiologic.Lock", True, 0.20),
    ]
    for size in (2, 10, 100, 1000):
        bars += [
            Bar(f"tasks/asyncio/{size}/1ms", TASKS, "throughput", "asyncio.Lock", False, 0.97),
            # "Fairness as its": the index repeats to about a hundredth.
            Bar(f"tasks/asyncio/{size}/1ms", TASKS, "jain", "asyncio.Lock", False, 0.98),
            Bar(f"tasks/asyncio/{size}/turn", TASKS, "throughput", "asyncio.Lock", False, 0.65),
            Bar(f"tasks/asyncio/{size}/turn", TASKS, "throughput", "aiologic.Lock", False, 1.0),
        ]
    for size in (2, 8, 32):
        empty, cpu, io = (f"threads/{size}/{section}" for section in ("empty", "cpu", "io"))
        bars += [
            Bar(empty, SHARED, "throughput", "threading.Lock", False, 2.0),
            Bar(empty, SHARED, "jain", None, False, 0.6),
            Bar(empty, SHARED, "longest", None, True, 0.250),
            Bar(cpu, SHARED, "throughput", "threading.Lock", False, 1.2, alone="threads/1/cpu"),
            Bar(io, SHARED, "throughput", "threading.Lock", False, 1.0),
            Bar(io, SHARED, "jain", None, False, 0.95),
        ]
    for who in ("1+1", "4+4", "4+100"):
        # With shorter holds a thread that finds the lock free again and again keeps the GIL, and
        # what is compared is CPython's switch interval.
        cell = f"mixed/{who}/1ms"
        bars += [
            Bar(cell, SHARED, "throughput", "aiologic.Lock", False, 1.0),
            Bar(cell, SHARED, "tasks p99", "aiologic.Lock", True, 1.1),
            Bar(cell, SHARED, "threads p99", "aiologic.Lock", True, 1.1),
            # "No worse": what the timers of the loop have in them repeats to a few hundredths.
            Bar(cell, SHARED, "loop p99", "aiologic.Lock", True, 1.05),
        ]
    for size in (1000, 10000):
        cell = f"waiters/{size}"
        bars += [
            Bar(cell, TASKS, "memory", "asyncio.Lock", True, 1.5),
            Bar(cell, TASKS, "cpu share", None, True, 0.03),
            Bar(cell, TASKS, "drain", "asyncio.Lock", True, 2.0),
        ]
    return bars


BARS: tuple[Bar, ...] = tuple(_bars())
"""All bars, for all versions of Python."""


def bars_for(version: tuple[int, int] = sys.version_info[:2]) -> list[Bar]:
    """Return the bars that count on a version of Python."""
    return [bar for bar in BARS if bar.pythons[0] <= version <= bar.pythons[1]]


def judge(samples: Sequence[Sample], bars: Sequence[Bar]) -> list[Verdict]:
    """Return a verdict on each bar: the misses first, the worst before the others."""
    order = {"missed": 0, "reached": 1, "not measured": 2}
    values = values_of(samples)
    verdicts = [
        Verdict(bar, *(_reached(bar, cell, values) for cell in (bar.cell, bar.alone)))
        for bar in bars
    ]
    return sorted(verdicts, key=lambda verdict: (order[verdict.status], -verdict.shortfall))


def _reached(
    bar: Bar, cell: str, values: Mapping[tuple[str, str, str], Mapping[int, float]]
) -> Spread | None:
    own = values.get((cell, bar.peer, bar.metric), {})
    if bar.against is None:
        rounds = list(own.values())
    else:
        rounds = ratios(own, values.get((bar.cell, bar.against, bar.metric), {}))
    return spread(rounds) if rounds else None
