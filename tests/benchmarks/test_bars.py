"""The bars: that they mean what the samples say, and that each can be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from benchmarks.bars import BARS, Bar, bars_for, judge
from benchmarks.cells import CELLS
from benchmarks.peers import all_peers
from benchmarks.samples import Sample
from benchmarks.words import METRICS, limit_of, limits_of, spread_of, value_of

AT_LEAST = Bar("cell", "ours", "throughput", "theirs", False, 2.0)
AT_MOST = Bar("cell", "ours", "longest", None, True, 0.25)


def _samples(peer: str, metric: str, values: Sequence[float]) -> list[Sample]:
    return [
        Sample(number, "cell", peer, "timed", {metric: value})
        for number, value in enumerate(values)
    ]


def _status(bar: Bar, *samples: Sample) -> str:
    (verdict,) = judge(samples, [bar])
    return verdict.status


def test_the_median_of_the_ratios_decides_and_not_the_ratio_of_the_medians() -> None:
    # Ratios 3, 3 and 0.3: the machine was slow in the last round, for us alone.
    ours = _samples("ours", "throughput", [30.0, 3.0, 3.0])
    theirs = _samples("theirs", "throughput", [10.0, 1.0, 10.0])
    (verdict,) = judge([*ours, *theirs], [AT_LEAST])
    assert verdict.reached is not None
    assert verdict.reached.median == pytest.approx(3.0)
    assert verdict.reached.rounds == 3
    assert verdict.status == "reached"


def test_a_miss_on_either_side_of_a_limit() -> None:
    theirs = _samples("theirs", "throughput", [1.0])
    assert _status(AT_LEAST, *_samples("ours", "throughput", [1.99]), *theirs) == "missed"
    assert _status(AT_LEAST, *_samples("ours", "throughput", [2.0]), *theirs) == "reached"
    assert _status(AT_MOST, *_samples("ours", "longest", [0.26])) == "missed"
    assert _status(AT_MOST, *_samples("ours", "longest", [0.25])) == "reached"


def test_what_is_not_measured_is_neither_reached_nor_missed() -> None:
    assert _status(AT_LEAST) == "not measured"
    assert _status(AT_LEAST, *_samples("ours", "throughput", [5.0])) == "not measured"


def test_the_most_that_can_be_reached_is_what_one_contender_alone_reaches() -> None:
    bar = replace(AT_LEAST, alone="alone")
    ours = _samples("ours", "throughput", [10.0, 20.0, 30.0])
    theirs = _samples("theirs", "throughput", [10.0, 10.0, 10.0])
    alone = [
        replace(sample, cell="alone") for sample in _samples("ours", "throughput", [11.0, 25.0])
    ]
    (verdict,) = judge([*ours, *theirs, *alone], [bar])
    assert verdict.alone is not None
    assert verdict.alone.rounds == 2
    assert limits_of([verdict]).endswith("That is, for cell, 1.8 (1.45 to 2.15) × theirs.")  # noqa: RUF001
    assert limits_of(judge([*ours, *theirs], [AT_LEAST, bar])) == ""


def test_misses_come_first_and_the_worst_before_the_others() -> None:
    bars = [Bar("cell", "ours", "longest", None, True, limit) for limit in (3.0, 0.1, 1.0)]
    bars.append(AT_LEAST)
    verdicts = judge(_samples("ours", "longest", [2.0]), bars)
    assert [verdict.bar.limit for verdict in verdicts] == [0.1, 1.0, 3.0, 2.0]
    assert [v.status for v in verdicts] == ["missed", "missed", "reached", "not measured"]


def test_a_lock_that_served_nobody_is_the_worst_miss_of_all() -> None:
    samples = [*_samples("ours", "throughput", [0.0]), *_samples("theirs", "throughput", [9.0])]
    (verdict,) = judge(samples, [AT_LEAST])
    assert (verdict.status, verdict.shortfall) == ("missed", float("inf"))


def test_3_11_has_a_bar_of_its_own_for_the_free_lock_and_the_others_besides() -> None:
    def limits(version: tuple[int, int]) -> set[float]:
        return {
            bar.limit
            for bar in bars_for(version)
            if (bar.cell, bar.against) == ("uncontended/asyncio", "asyncio.Lock")
        }

    assert limits((3, 11)) == {1.7}
    assert limits((3, 12)) == limits((3, 14)) == {0.9}
    assert len(bars_for((3, 11))) == len(bars_for((3, 12))) == len(BARS) - 1


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: f"{bar.cell} {bar.metric} {bar.against}")
def test_every_bar_is_about_something_that_is_measured(bar: Bar) -> None:
    (cell,) = [cell for cell in CELLS if cell.id == bar.cell]
    names = {peer.name for peer in all_peers() if cell.host in peer.hosts}
    assert bar.peer in names
    assert bar.against is None or bar.against in names
    assert bar.metric in METRICS
    modes = {"memory"} if cell.workload == "waiters" else set()
    modes |= {"count"} if cell.count_seconds else set()
    modes |= {"timed"} if cell.timed_seconds else set()
    assert cell.modes_of(bar.metric) <= modes
    for alone in (cell for cell in CELLS if cell.id == bar.alone):
        # Else rounds of the one would be compared with other rounds of the other.
        assert (alone.contenders, alone.section) == (1, cell.section)
        assert (alone.weight, alone.count_seconds) == (cell.weight, cell.count_seconds)


def test_the_words_for_a_bar() -> None:
    assert limit_of(AT_LEAST) == "≥ 2.00 × theirs"  # noqa: RUF001
    assert limit_of(AT_MOST) == "≤ 250 ms"
    (verdict,) = judge(_samples("ours", "longest", [0.01, 0.02, 0.03]), [AT_MOST])
    assert verdict.reached is not None
    assert value_of(AT_MOST, verdict.reached.median) == "20 ms"
    assert spread_of(AT_MOST, verdict.reached) == "15 ms to 25 ms"


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (2.004, "2"), (1.996, "1.996"), (1.99996, "1.99996"), (2.5, "2.5")],
)
def test_a_ratio_shows_on_which_side_of_the_bar_it_is(value: float, text: str) -> None:
    assert value_of(AT_LEAST, value) == text
