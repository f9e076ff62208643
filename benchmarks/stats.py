"""The arithmetic of the suite: pure functions of numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Spread", "jain", "percentile", "ratio", "ratios", "spread"]


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, and the quartiles around it."""

    median: float
    low: float
    high: float
    rounds: int


def percentile(ordered: Sequence[float], share: float, smaller: int = 0) -> float:
    """Return the smallest value that `share` of all do not exceed (the nearest rank).

    `ordered` is sorted. `smaller` says how many further values, known only to be no larger than the
    first of `ordered`, were counted and not kept; where the rank falls among them, 0 is returned.
    """
    total = len(ordered) + smaller
    if total == 0:
        raise ValueError("a percentile needs at least one value")
    rank = max(1, math.ceil(share * total)) - smaller
    return ordered[rank - 1] if rank > 0 else 0.0


def jain(counts: Sequence[float]) -> float:
    """Return Jain's fairness index: 1 if all got the same, 1/n if one of n got everything.

    It is (sum x)^2 / (n * sum x^2); 0 where nobody got anything. Jain, Chiu and Hawe, "A
    Quantitative Measure of Fairness and Discrimination", DEC TR-301, 1984.
    """
    squares = math.fsum(count * count for count in counts)
    if not squares:
        return 0.0
    total = math.fsum(counts)
    return total * total / (len(counts) * squares)


def ratio(value: float, base: float) -> float:
    """Return value / base, where two zeros are equal and anything is infinitely more than 0."""
    if base:
        return value / base
    return math.inf if value else 1.0


def ratios(values: Mapping[int, float], bases: Mapping[int, float]) -> list[float]:
    """Return the ratio of each round that both took part in."""
    return [ratio(values[number], bases[number]) for number in sorted(values.keys() & bases.keys())]


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles; the single value three times where there is one."""
    if not values:
        raise ValueError("a spread needs at least one value")
    if len(values) == 1 or not all(map(math.isfinite, values)):
        # Quartiles between infinite values are not a number; the extremes say enough.
        return Spread(statistics.median_low(values), min(values), max(values), len(values))
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))
