"""Which schedules to try for a scenario, and which of those tried are worth a look."""

from __future__ import annotations

from collections.abc import Sequence

from ..schedules import Constant, Decorrelated, Exponential, Linear, Schedule
from ._outcome import Outcome
from ._scenario import Scenario

__all__ = ["best_of", "candidates"]

_CAPS = (1, 3, 10, 30, 100, 300)
"""Caps to try, in holds."""

_SHOWN = 5


def candidates(scenario: Scenario) -> list[Schedule]:
    """Return schedules to search: families, and caps from one hold to three hundred.

    >>> len(candidates(Scenario()))
    30
    """
    hold = scenario.hold.mean or 0.001
    found: list[Schedule] = []
    for holds in _CAPS:
        first, cap = _rounded(min(holds, 1) * hold), _rounded(holds * hold)
        found += [
            Constant(cap, jitter=0.5),
            Exponential(first, cap=cap),
            Exponential(first, cap=cap, jitter=0.5),
            Decorrelated(first, cap=cap),
            Linear((0.0, first), cap=cap, jitter=0.5),
        ]
    return found


def best_of(tried: Sequence[tuple[Schedule, Outcome]]) -> list[tuple[Schedule, str]]:
    """Return the best few of the schedules that were tried, each with why, the best used first.

    They are those that no other beats in both: for how much of the time the lock is held, and tries
    for an acquisition. Of many, the two ends and those between that are spread best are taken; the
    one to begin with is the thriftiest that uses the lock for 95 % of what the best does.
    """
    front: list[tuple[Schedule, Outcome]] = []
    for schedule, outcome in sorted(tried, key=lambda each: (-each[1].utilisation, each[1].tries)):
        if not front or outcome.tries < front[-1][1].tries:
            front.append((schedule, outcome))
    if not front:
        return []
    enough = 0.95 * front[0][1].utilisation
    knee = max(place for place, each in enumerate(front) if each[1].utilisation >= enough)
    last = len(front) - 1
    chosen = {round(last * step / (_SHOWN - 1)) for step in range(_SHOWN)} | {knee}
    whys = {0: "uses the lock most", last: "tries least"}
    whys[knee] = "begin with this"
    return [(front[place][0], whys.get(place, "between")) for place in sorted(chosen)]


def _rounded(seconds: float) -> float:
    """Return it in two digits, for people to read."""
    return float(f"{seconds:.2g}")
