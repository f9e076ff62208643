"""The arithmetic of the benchmark suite."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats import jain, percentile, ratio, ratios, spread

VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60)
SHARES = st.floats(0.0, 1.0)
COUNTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=60)


@given(VALUES, SHARES)
def test_a_percentile_is_the_smallest_value_that_the_share_does_not_exceed(
    values: list[float], share: float
) -> None:
    values.sort()
    found = percentile(values, share)
    needed = share * len(values)
    assert sum(value <= found for value in values) >= needed
    smaller = [value for value in values if value < found]
    assert not smaller or len(smaller) < needed


@given(VALUES, SHARES, st.integers(0, 50))
def test_values_that_were_not_kept_count_as_the_smallest(
    values: list[float], share: float, smaller: int
) -> None:
    values.sort()
    assert percentile(values, share, smaller) == percentile([0.0] * smaller + values, share)


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 0.5)


@given(COUNTS)
def test_jain_lies_between_one_share_and_all(counts: list[int]) -> None:
    if any(counts):
        assert 1 / len(counts) - 1e-9 <= jain(counts) <= 1 + 1e-9
    else:
        assert jain(counts) == 0.0


@given(st.integers(1, 10**6), st.integers(1, 100))
def test_jain_of_equal_shares_and_of_one_that_gets_everything(got: int, size: int) -> None:
    assert jain([got] * size) == pytest.approx(1.0)
    assert jain([got] + [0] * (size - 1)) == pytest.approx(1 / size)


@given(COUNTS, st.integers(2, 1000))
def test_jain_does_not_depend_on_the_unit(counts: list[int], factor: int) -> None:
    assert jain([factor * count for count in counts]) == pytest.approx(jain(counts))


def test_ratios_pair_the_rounds_that_both_took_part_in() -> None:
    assert ratios({0: 2.0, 1: 9.0, 3: 8.0}, {0: 4.0, 3: 2.0, 7: 1.0}) == [0.5, 4.0]


def test_a_ratio_to_nothing() -> None:
    assert ratio(1.0, 0.0) == math.inf
    assert ratio(0.0, 0.0) == 1.0


@given(VALUES)
def test_the_quartiles_enclose_the_median(values: list[float]) -> None:
    result = spread(values)
    assert result.rounds == len(values)
    assert result.median == pytest.approx(statistics.median(values))
    assert min(values) <= result.low <= result.median <= result.high <= max(values) or (
        math.isclose(min(values), max(values))
    )


def test_a_spread_with_an_infinite_ratio_is_no_nan() -> None:
    result = spread([1.0, 2.0, math.inf])
    assert (result.low, result.median, result.high) == (1.0, 2.0, math.inf)
