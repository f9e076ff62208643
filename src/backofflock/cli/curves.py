"""What a schedule does over its first retries: delays and waits, as bands where they are random."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, islice
from random import Random
from typing import NamedTuple

from backofflock import Schedule

__all__ = ["DRAWS", "NOTHING", "Band", "Curve", "curve_of"]

DRAWS = 2001
"""How many acquisitions a band is taken from; so many that each percentile is one of them."""


NOTHING = 1e-12
"""Seconds that are drawn as 0: below them no axis has a sensible scale."""


class Band(NamedTuple):
    """Percentiles of a time in seconds; all the same where nothing is random."""

    p5: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A schedule over its first retries, counted from 0."""

    schedule: Schedule
    random: bool
    """Whether acquisitions differ."""
    gives_up: bool
    """Whether it ends: with the last retry that is here, or, if it goes on, later."""
    goes_on: bool
    """Whether there are more retries than are here."""
    delays: tuple[Band, ...]
    """What is slept before retry k."""
    waits: tuple[Band, ...]
    """What has been slept in all when retry k is made; the tries themselves take no time here."""

    @property
    def ends_here(self) -> bool:
        """Whether the waiter gives up where these retries end."""
        return self.gives_up and not self.goes_on


class _Stuck:
    """Randomness that always gives the same."""

    def __init__(self, number: float) -> None:
        self._number = number

    def random(self) -> float:
        return self._number


def curve_of(schedule: Schedule, retries: int, seed: int) -> Curve:
    """Return the curve of the first `retries` of `schedule`, the same for the same seed.

    Each schedule has a generator of its own, so that what is beside it changes nothing.
    """
    # One more than is shown tells whether it ends there. No schedule ends sooner by chance.
    least, most = (list(islice(schedule.delays(_Stuck(u)), retries + 1)) for u in (0.0, 0.999))
    rng = Random(seed)
    # A delay grows or falls with each of its draws, so what is random differs between their ends.
    random = least != most
    runs = (
        [list(islice(schedule.delays(rng), retries)) for _ in range(DRAWS)]
        if random
        else [least[:retries]]
    )
    return Curve(
        schedule=schedule,
        random=random,
        gives_up=schedule.gives_up,
        goes_on=len(least) > retries,
        delays=_bands(runs),
        waits=_bands(list(accumulate(run)) for run in runs),
    )


def _bands(runs: Iterable[list[float]]) -> tuple[Band, ...]:
    """Return the band of each retry over all runs."""
    return tuple(_band(sorted(column)) for column in zip(*runs, strict=True))


def _band(ordered: list[float]) -> Band:
    last = len(ordered) - 1
    return Band(*(ordered[last * percent // 100] for percent in (5, 50, 95)))
