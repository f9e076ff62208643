"""What the contenders of one sample have done, and the figures that come of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time

from ..stats import jain, percentile

__all__ = ["FLOOR", "Result", "Stuck", "Tally", "join_all"]

FLOOR = 1e-6
"""Waits of less than this many seconds are counted and not kept: they are no waits."""

PATIENCE = 30.0
"""Seconds after the end of a sample in which every contender must have left."""

SHARES = (*(part / 100 for part in range(98)), *(1 - 0.03 * 0.85**part for part in range(26)), 1.0)
"""The quantiles of the waits that are kept for the charts."""


class Stuck(RuntimeError):
    """Contenders did not end although the sample is over."""


@dataclass
class Result:
    """One sample's figures by name, and the quantiles of its waits."""

    figures: dict[str, float] = field(default_factory=dict)
    quantiles: list[float] = field(default_factory=list)


class Tally:
    """Shared by the contenders of one sample, which end when `over` is true.

    A contender writes at its own index only. Whoever still waits at the end has waited until then:
    leaving these waits out would make a lock look good that starves somebody.
    """

    def __init__(self, tasks: int, threads: int, failed: Callable[[], int] | None = None) -> None:
        size = tasks + threads
        self.tasks = tasks
        self.over = False
        self.counts = [0] * size
        self.since = [0.0] * size
        self.waits: list[list[float]] = [[] for _ in range(size)]
        self.delays: list[float] = []
        self.heartbeats_due: dict[int, float] = {}
        self._failed = failed
        self._failed_tries = 0
        self._before = [0] * size
        self._unfinished: list[tuple[int, float]] = []
        self.seconds = self.cpu = 0.0

    def begin(self) -> None:
        """Everybody contends: measure from here."""
        self._before = self.counts.copy()
        self._failed_tries = -self._failed() if self._failed else 0
        self.cpu = -process_time()
        self.seconds = -perf_counter()

    def finish(self) -> None:
        """Measure up to here, and tell the contenders to leave."""
        now = perf_counter()
        self.over = True
        self.seconds += now
        self.cpu += process_time()
        if self._failed:
            self._failed_tries += self._failed()
        self._unfinished = [(me, now - since) for me, since in enumerate(self.since) if since]
        self.delays += [now - due for due in self.heartbeats_due.values() if due < now]

    def result(self, timed: bool) -> Result:
        """Return the figures; those of the waits only if the contenders took times."""
        counts = [after - before for after, before in zip(self.counts, self._before, strict=True)]
        total = sum(counts)
        result = Result({"throughput": total / self.seconds, "jain": jain(counts)})
        if total:
            result.figures["cpu"] = self.cpu / total
            if self._failed:
                result.figures["failed"] = max(0, self._failed_tries) / total
        if timed:
            self._add_waits(result)
        return result

    def _add_waits(self, result: Result) -> None:
        size = len(self.counts)
        everybody = self._waits_of(range(size))
        result.quantiles = [everybody(share) for share in SHARES]
        groups = {"": everybody}
        if 0 < self.tasks < size:
            groups["tasks "] = self._waits_of(range(self.tasks))
            groups["threads "] = self._waits_of(range(self.tasks, size))
        for who, quantile in groups.items():
            result.figures[f"{who}p50"] = quantile(0.50)
            result.figures[f"{who}p99"] = quantile(0.99)
            result.figures[f"{who}longest"] = quantile(1.0)
        if self.delays:
            self.delays.sort()
            result.figures["loop p99"] = percentile(self.delays, 0.99)
            result.figures["loop longest"] = self.delays[-1]

    def _waits_of(self, contenders: Sequence[int]) -> Callable[[float], float]:
        kept = [wait for me in contenders for wait in self.waits[me]]
        finished = sum(self.counts[me] for me in contenders)
        short = max(0, finished - len(kept))
        kept += [wait for me, wait in self._unfinished if me in contenders]
        if not kept and not short:
            kept.append(self.seconds)  # nobody even began to wait: somebody blocked them all
        kept.sort()
        return lambda share: percentile(kept, share, short)


def join_all(threads: Sequence[threading.Thread]) -> None:
    """Wait until all threads have ended, or raise `Stuck`."""
    deadline = perf_counter() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - perf_counter()))
    if left := sum(thread.is_alive() for thread in threads):
        raise Stuck(f"{left} of {len(threads)} threads did not end within {PATIENCE:.0f} s")
