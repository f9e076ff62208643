"""The rules for what users pass in: the form that comes out, and what a refusal says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from math import inf, nan
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backofflock._checks import attempts_limit, duration, limit, number, span

Check = Callable[[str, object], object]

NOT_NUMBERS = [True, False, "1", "", b"1", 1j, [], {}, object, Decimal(1), Fraction(1)]
NOT_FINITE = [nan, inf, -inf, 10**400, -(10**400)]
NEGATIVE = [-1, -0.001, -5e-324, timedelta(microseconds=-1), timedelta.min]


def refusal(check: Check, value: object, error: type[Exception]) -> str:
    """Return what `check` says of a bad `value`, less the name of the field and the value."""
    with pytest.raises(error) as caught:
        check("patience", value)
    assert type(caught.value) is error
    text = str(caught.value)
    assert text.startswith("patience must be ")
    assert f", not {value!r}" in text
    return text.removeprefix("patience must be ").replace(f", not {value!r}", "")


@pytest.mark.parametrize("check", [duration, limit, span])
@settings(deadline=None)
@given(seconds=st.floats(0.0, allow_infinity=False) | st.integers(0, 10**300))
@example(seconds=5e-324)
@example(seconds=0)
def test_seconds_come_out_as_the_same_float(check: Check, seconds: float) -> None:
    result = check("patience", seconds)
    assert type(result) is float
    assert result == float(seconds)


@pytest.mark.parametrize("check", [duration, limit, span])
@settings(deadline=None)
@given(delta=st.timedeltas(min_value=timedelta(0)))
def test_a_timedelta_comes_out_as_its_seconds(check: Check, delta: timedelta) -> None:
    result = check("patience", delta)
    assert type(result) is float
    assert result == delta / timedelta(seconds=1)


@pytest.mark.parametrize("check", [duration, limit, span])
@pytest.mark.parametrize("value", [*NOT_FINITE, *NEGATIVE], ids=lambda value: f"{value!r:.20}")
def test_seconds_out_of_range_are_refused(check: Check, value: object) -> None:
    assert refusal(check, value, ValueError).startswith("a finite number of seconds >= 0")


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
@pytest.mark.parametrize("check", [duration, limit])
def test_what_is_no_duration_is_refused(check: Check, value: object) -> None:
    said = refusal(check, value, TypeError)
    assert said.startswith("a finite number of seconds >= 0, or a timedelta")


def test_only_a_limit_may_be_none_and_says_so() -> None:
    assert limit("patience", None) is None
    assert refusal(limit, -1, ValueError).endswith("(None means no limit)")
    assert refusal(limit, "1", TypeError).endswith("(None means no limit)")
    for check in (duration, span, partial(number, low=0.0)):
        assert "None" not in refusal(check, None, TypeError)


# -- spans -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(0.0, allow_infinity=False), min_size=2, max_size=2).map(sorted))
def test_a_pair_comes_out_as_a_tuple_of_floats(drawn: list[float]) -> None:
    assert span("patience", drawn) == span("patience", tuple(drawn)) == tuple(drawn)


def test_a_pair_may_mix_its_types_and_be_a_single_point() -> None:
    mixed = span("patience", [1, timedelta(seconds=2)])
    assert mixed == (1.0, 2.0)
    assert isinstance(mixed, tuple)
    assert [type(end) for end in mixed] == [float, float]
    assert span("patience", (0.5, 0.5)) == (0.5, 0.5)


@pytest.mark.parametrize("place", [0, 1])
def test_a_bad_end_of_a_pair_is_named(place: int) -> None:
    for bad, error in ((True, TypeError), ("1", TypeError), (nan, ValueError), (-1, ValueError)):
        ends = (bad, 1.0) if place == 0 else (0.0, bad)
        with pytest.raises(error) as caught:
            span("patience", ends)
        assert str(caught.value) == (
            f"patience[{place}] must be a finite number of seconds >= 0, or a timedelta, "
            f"not {bad!r}"
        )


@pytest.mark.parametrize("value", [(2.0, 1.0), [1, 0], (timedelta(1), 1.0)])
def test_a_pair_the_wrong_way_round_is_refused(value: object) -> None:
    assert refusal(span, value, ValueError) == "(low, high) with low <= high"


@pytest.mark.parametrize("value", [(), (1.0,), [1.0, 2.0, 3.0]])
def test_what_is_not_two_is_no_pair(value: object) -> None:
    assert refusal(span, value, ValueError) == "seconds or a pair (low, high) of them"


# -- numbers ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(-3.0, 3.0), st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
@example(0.0, 0.0, 1.0)
@example(1.0, 0.0, 1.0)
def test_a_number_is_taken_exactly_within_its_range(value: float, low: float, high: float) -> None:
    if low <= value <= high:
        assert number("patience", value, low, high) == value
        return
    said = refusal(partial(number, low=low, high=high), value, ValueError)
    assert said == f"within {low:g} to {high:g}"


def test_a_number_without_an_upper_end_is_finite_all_the_same() -> None:
    check = partial(number, low=1.0)
    assert check("patience", 1e308) == 1e308
    assert type(check("patience", 1)) is float
    for value in (*NOT_FINITE, 0.999, -1):
        assert refusal(check, value, ValueError) == "a finite number >= 1"


@pytest.mark.parametrize("value", [*NOT_NUMBERS, timedelta(1)], ids=repr)
def test_what_is_no_number_is_refused(value: object) -> None:
    assert refusal(partial(number, low=0.0, high=2.0), value, TypeError) == "within 0 to 2"


# -- tries -----------------------------------------------------------------------------------------


def test_a_number_of_tries_is_whole_and_at_least_one() -> None:
    allowed = "a whole number of tries >= 1 (None means no limit)"
    assert attempts_limit("patience", None) is None
    for tries in (1, 2, 10**400):
        assert attempts_limit("patience", tries) is tries
    for value in (0, -1, -(10**400)):
        assert refusal(attempts_limit, value, ValueError) == allowed
    others: list[Any] = [*NOT_NUMBERS, 1.0, nan, timedelta(1)]
    for value in others:
        assert refusal(attempts_limit, value, TypeError) == allowed


def test_an_int_too_large_to_print_is_refused_in_the_same_words() -> None:
    with pytest.raises(ValueError, match="timeout must be .*not an int too large to print"):
        duration("timeout", 10**5000)
