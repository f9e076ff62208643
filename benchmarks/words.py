"""How figures are written: units, and the words for the metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .bars import Bar, Verdict
from .stats import Spread

__all__ = [
    "METRICS",
    "figure",
    "is_ours",
    "limit_of",
    "limits_of",
    "plain",
    "spread_of",
    "value_of",
]

METRICS = {
    "entry": "seconds per entry",
    "throughput": "throughput",
    "occupied": "time in the section",
    "p50": "wait p50",
    "p99": "wait p99",
    "longest": "longest wait",
    "jain": "Jain's index",
    "cpu": "CPU per acquisition",
    "loop p99": "loop delay p99",
    "loop longest": "longest loop delay",
    "failed": "failed tries per acquisition",
    "tasks p99": "tasks' wait p99",
    "threads p99": "threads' wait p99",
    "memory": "memory per waiter",
    "memory with task": "memory per waiter, its task included",
    "cpu share": "CPU while waiting",
    "drain": "time to drain",
    "requests": "requests per acquisition",
    "commands": "commands of the server per acquisition",
    "server cpu": "server's CPU per acquisition",
}
"""The metrics that are reported, in the order of the columns."""

_SECONDS = {"entry", "p50", "p99", "longest", "cpu", "drain"}


def is_ours(peer: str) -> bool:
    """Return whether it is one of the locks that are measured beside the others."""
    return "BackoffLock" in peer or "DistributedLock" in peer


def figure(metric: str, value: float) -> str:
    """Return a figure with its unit."""
    if metric == "throughput":
        return f"{plain(value)}/s"
    if metric in ("cpu share", "occupied"):
        return f"{value * 100:.1f} %"
    if metric.startswith("memory"):
        return f"{value:.0f} B"
    if metric.rpartition(" ")[2] in _SECONDS:
        return _seconds(value)
    return f"{value:.3f}" if metric == "jain" else plain(value)


def _seconds(value: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return "< 1 µs" if value == 0.0 else f"{value * 1e9:.0f} ns"


def plain(value: float) -> str:
    """Return a figure without a unit."""
    if not math.isfinite(value):
        return "∞"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def value_of(bar: Bar, value: float) -> str:
    """Return what a bar is compared with: a ratio, or a figure with its unit.

    A ratio has three digits, or as many as it takes to see on which side of the bar it is.
    """
    if bar.against is None:
        return figure(bar.metric, value)
    digits = 3
    while bar.reached_by(float(f"{value:.{digits}g}")) != bar.reached_by(value):
        digits += 1
    return f"{value:.{digits}g}"


def spread_of(bar: Bar, reached: Spread) -> str:
    """Return the quartiles around it."""
    return f"{value_of(bar, reached.low)} to {value_of(bar, reached.high)}"


def limit_of(bar: Bar) -> str:
    """Return the limit in words."""
    sign = "≤" if bar.most else "≥"
    if bar.against is None:
        return f"{sign} {figure(bar.metric, bar.limit)}"
    return f"{sign} {bar.limit:.2f} × {bar.against}"  # noqa: RUF001


def limits_of(verdicts: Sequence[Verdict]) -> str:
    """Return in words what the lock can reach at the most; nothing if no bar has such a limit."""
    limits = [
        f"{verdict.bar.cell}, {value_of(verdict.bar, verdict.alone.median)} "
        f"({spread_of(verdict.bar, verdict.alone)}) × {verdict.bar.against}"  # noqa: RUF001
        for verdict in verdicts
        if verdict.alone is not None
    ]
    if not limits:
        return ""
    return (
        "Several that exclude each other reach no more than one that has the lock for itself. That "
        f"is, for {', for '.join(limits)}."
    )
