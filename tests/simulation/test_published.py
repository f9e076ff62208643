"""The simulator gives the published results: seeded, means of 30 runs.

The tolerance is three standard errors of the difference between two means of 30 runs, ours and the
published, taken from the spread of our runs, and half of the last digit published. A faulty engine
may spread wider, so that it is bounded: no tolerance may be more than a tenth of the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random
from statistics import fmean, stdev

import pytest

from backofflock import Decorrelated, Exponential, Linear, Quadratic, Schedule, Spin
from backofflock.schedules import Rng
from backofflock.simulation import Distribution, Scenario, simulate

from .versioned_row import Row

RUNS = 30


def agree(ours: Sequence[float], published: float, digit: float) -> None:
    """Assert that two means of `RUNS` runs are of one distribution, as far as 30 runs can tell."""
    tolerance = 3 * stdev(ours) * sqrt(2 / RUNS) + digit / 2
    assert tolerance <= 0.1 * published, f"{tolerance:g} is too wide to tell anything"
    assert fmean(ours) == pytest.approx(published, abs=tolerance)


@dataclass(frozen=True)
class Clamped(Schedule):
    """Decorrelated jitter as published: what is drawn is clamped at the cap, so it piles up there.

    `Decorrelated` clamps the range instead.
    """

    initial: float
    cap: float

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        assert rng is not None
        delay = self.initial
        while True:
            drawn = self.initial + (3 * delay - self.initial) * rng.random()
            delay = min(self.cap, drawn)
            yield delay


# The limit after the n-th failed write, n from 1, is min(2000, 5 * 2**n) ms: the first is 10 ms.
ROW = {
    "exponential": (Exponential(0.010, cap=2.0, jitter=0.0), 63_514, 1_858),
    "equal jitter": (Exponential(0.010, cap=2.0, jitter=0.5), 6_594, 811),
    "full jitter": (Exponential(0.010, cap=2.0, jitter=1.0), 4_962, 797),
    "decorrelated": (Clamped(0.005, cap=2.0), 4_810, 1_006),
    "none": (Spin(), 2_018, 2_424),
}


def rows(schedule: Schedule, clients: int = 100) -> list[Row]:
    return [Row(schedule, clients, Random(f"row {run}")) for run in range(RUNS)]


@pytest.mark.parametrize("name", ROW)
def test_a_hundred_clients_that_update_one_versioned_row(name: str) -> None:
    schedule, milliseconds, writes = ROW[name]
    done = rows(schedule)
    agree([1000 * row.finished for row in done], milliseconds, 1)
    agree([row.writes for row in done], writes, 1)


def test_decorrelated_of_this_package_writes_as_often_and_is_done_sooner() -> None:
    # It draws below the cap, where the published one draws and clamps: fewer wait for the full cap.
    done, published = rows(Decorrelated(0.005, cap=2.0)), ROW["decorrelated"]
    agree([row.writes for row in done], published[2], 1)
    assert 0.8 < 1000 * fmean(row.finished for row in done) / published[1] < 0.95


def test_a_single_client_writes_once_after_four_messages() -> None:
    done = rows(Spin(), clients=1)
    assert {row.writes for row in done} == {1}
    assert fmean(row.finished for row in done) == pytest.approx(0.040, abs=0.003)


BURST = {
    "full jitter": (Exponential(0.1, cap=10.0), (0.58, 0.78, 0.91)),
    "linear": (Linear((0.1, 1.0)), (0.61, 0.69, 0.77)),
    "quadratic": (Quadratic((0.1, 1.0)), (0.39, 0.37, 0.43)),
    "doubling": (Exponential(0.1, cap=10.0, jitter=0.0), (0.13, 0.11, 0.10)),
}


@pytest.mark.parametrize("contenders", [16, 64, 256])
@pytest.mark.parametrize("name", BURST)
def test_a_burst_of_contenders_who_acquire_once_each(name: str, contenders: int) -> None:
    schedule, published = BURST[name]
    scenario = Scenario(
        contenders=contenders,
        hold=Distribution.fixed(1.0),
        rounds=1,
        seconds=None,
        late=Distribution.parse("exponential:0.02"),
    )
    ours = [simulate(schedule, scenario, seed=run) for run in range(RUNS)]
    # The hold is 1, so the utilisation is N / makespan.
    assert all(each.utilisation * each.elapsed == pytest.approx(contenders) for each in ours)
    expected = published[(16, 64, 256).index(contenders)]
    spread = [each.utilisation for each in ours]
    tolerance = 3 * stdev(spread) * sqrt(2 / RUNS) + 0.005
    assert tolerance <= 0.09, f"{tolerance:g} is too wide to tell anything"
    assert fmean(spread) == pytest.approx(expected, abs=tolerance)
