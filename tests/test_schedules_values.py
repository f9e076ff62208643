"""Schedules are values: frozen, comparable, copied and printed whole, and refused if bad."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from datetime import timedelta
from functools import partial
from itertools import islice
from math import inf, nan
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backofflock import schedules
from backofflock._contention import GRACE
from backofflock.schedules import (
    DEFAULT_SCHEDULE,
    LONGEST,
    POLLING_SCHEDULE,
    Constant,
    Decorrelated,
    Exponential,
    Fibonacci,
    Linear,
    Polynomial,
    Rng,
    Schedule,
    Sequence,
    Spin,
)

from .schedule_kinds import BOUNDED, JITTERED, Bounded, any_schedule, first


@dataclass(frozen=True)
class Countdown(Schedule):
    """A rule of a user's own."""

    start: int

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        return iter([float(seconds) for seconds in range(self.start, 0, -1)])


# -- values ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(any_schedule(), st.integers())
def test_copies_by_every_means_are_equal_and_behave_alike(schedule: Schedule, seed: int) -> None:
    copies = {
        "repr": eval(repr(schedule), vars(schedules)),
        "copy": copy.copy(schedule),
        "deepcopy": copy.deepcopy(schedule),
        **{
            f"pickle {protocol}": pickle.loads(pickle.dumps(schedule, protocol))
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        },
    }
    expected = first(20, schedule, random.Random(seed))
    for means, same in copies.items():
        assert type(same) is type(schedule), means
        assert same == schedule, means
        assert hash(same) == hash(schedule), means
        assert repr(same) == repr(schedule), means
        assert first(20, same, random.Random(seed)) == expected, means


EXAMPLES: list[Schedule] = [
    *[family((0.1, 0.2), cap=0.5) for family in BOUNDED],
    *[family(0.2, cap=0.5) for family in BOUNDED],
    *[family(0.2, cap=None) for family in BOUNDED],
    *[family(0.2, cap=0.5, jitter=0.3) for family in JITTERED],
    Exponential(0.2, cap=0.5, factor=3),
    Decorrelated(0.2, cap=0.5, factor=2),
    Polynomial(0.2, cap=0.5, power=3),
    Sequence((0.2,)),
    Sequence((0.2,), jitter=0.5),
    Spin(),
    Spin().take(3),
    Spin().take(4),
    Spin().then(Spin()),
    Spin().take(3).then(Constant(0.2)),
    Countdown(3),
    Countdown(4),
]


def test_schedules_that_differ_in_anything_are_not_equal() -> None:
    for place, schedule in enumerate(EXAMPLES):
        assert [other for other in EXAMPLES[place + 1 :] if other == schedule] == []
    assert len({*EXAMPLES, *copy.deepcopy(EXAMPLES)}) == len(EXAMPLES)


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_a_schedule_cannot_be_changed(schedule: Schedule) -> None:
    before = repr(schedule)
    for name in (*(field.name for field in fields(cast("Any", schedule))), "new"):
        with pytest.raises(FrozenInstanceError):
            setattr(schedule, name, 1.0)
    assert repr(schedule) == before


def test_a_repr_names_every_field_in_seconds() -> None:
    assert repr(Linear(1)) == "Linear(initial=1.0, cap=None, jitter=0.0)"
    assert repr(Sequence([1])) == "Sequence(seconds=(1.0,), jitter=0.0)"
    combined = Spin().take(2).then(Constant(1).then(Spin()).take(3))
    assert repr(combined) == (
        "Spin().take(2).then(Constant(initial=1.0, cap=None, jitter=0.0).then(Spin()).take(3))"
    )


def test_a_field_can_be_replaced_and_is_checked_anew() -> None:
    assert replace(Fibonacci((0, 1)), jitter=0.5) == Fibonacci((0.0, 1.0), jitter=0.5)
    with pytest.raises(ValueError, match="initial"):
        replace(Fibonacci(2.0), cap=1.0)


@pytest.mark.parametrize("schedule", [DEFAULT_SCHEDULE, POLLING_SCHEDULE])
def test_two_naps_of_a_default_schedule_and_the_grace_are_74_ms(schedule: Schedule) -> None:
    delays = first(1_000, schedule, random.Random(20))
    assert min(delays) > 0.0
    assert 2 * max(delays) + GRACE <= 0.074


def test_the_polling_schedule_is_a_textbook_back_off() -> None:
    assert isinstance(POLLING_SCHEDULE, Exponential)
    assert POLLING_SCHEDULE.initial == 0.001


@pytest.mark.parametrize("family", BOUNDED)
def test_durations_may_be_timedeltas_and_whole_numbers(family: Callable[..., Bounded]) -> None:
    ms = partial(timedelta, 0, 0, 0)
    assert family(ms(250), cap=ms(2000)) == family(0.25, cap=2)
    assert family((ms(250), 1), cap=ms(2000)) == family([0.25, ms(1000)], cap=2.0)
    assert type(family(ms(250), cap=2).cap) is float


def test_the_durations_of_a_sequence_may_be_anything_that_gives_them() -> None:
    expected = Sequence((0.5, 1.0))
    assert Sequence([timedelta(seconds=0.5), 1]) == expected
    once = Sequence(seconds / 2 for seconds in (1, 2))
    assert once == expected
    assert list(once.delays()) == list(once.delays()) == [0.5, 1.0]


# -- take, then, and rules of a user's own ---------------------------------------------------------


def test_take_and_then_nest() -> None:
    one, two = Constant(1.0), Constant(2.0)
    assert list(one.take(2).then(two.take(1)).delays()) == [1.0, 1.0, 2.0]
    assert list(one.take(2).then(two).take(4).delays()) == [1.0, 1.0, 2.0, 2.0]
    assert list(one.take(5).take(2).delays()) == list(one.take(2).take(5).delays()) == [1.0, 1.0]
    assert list(one.take(1).then(two.take(1)).then(one.take(1)).delays()) == [1.0, 2.0, 1.0]
    assert list(one.take(1).then(two.take(1).then(one.take(1))).delays()) == [1.0, 2.0, 1.0]
    assert list(one.take(0).delays()) == []
    assert first(3, one.then(two)) == [1.0] * 3
    assert list(Sequence((3.0,)).take(2).delays()) == [3.0]
    assert first(3, Sequence(()).then(two)) == [2.0] * 3


def test_a_sequence_gives_up_where_it_ends_and_for_each_acquisition_anew() -> None:
    schedule = Sequence((0.25, 0.5))
    delays = schedule.delays()
    assert list(delays) == [0.25, 0.5]
    assert next(delays, None) is None
    assert list(schedule.delays()) == [0.25, 0.5]


def test_both_halves_of_then_use_the_rng_of_the_acquisition() -> None:
    schedule = Constant((0.0, 1.0)).take(2).then(Constant((0.0, 1.0)).take(2))
    here, there = random.Random(20), random.Random(20)
    one, again, two, still = schedule.delays(here)
    assert one == again
    assert two == still
    assert one != two
    assert list(schedule.delays(there)) == [one, again, two, still]


@pytest.mark.parametrize("n", [True, 2.0, "2", None, timedelta(2)])
def test_take_refuses_what_is_not_a_whole_number(n: Any) -> None:
    refused(TypeError, lambda: Spin().take(n), "n must be", ">= 0", repr(n))


def test_take_refuses_less_than_nothing() -> None:
    refused(ValueError, lambda: Spin().take(-1), "n must be", ">= 0", "-1")


@pytest.mark.parametrize("other", [1.0, None, [1.0], Spin, iter([1.0])])
def test_then_refuses_what_is_not_a_schedule(other: Any) -> None:
    refused(TypeError, lambda: Spin().then(other), "other must be a Schedule", repr(other))


def test_a_rule_of_ones_own_is_a_schedule_like_the_others() -> None:
    schedule = Countdown(3).take(2).then(Countdown(1))
    assert list(schedule.delays()) == [3.0, 2.0, 1.0]
    assert repr(schedule) == "Countdown(start=3).take(2).then(Countdown(start=1))"
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert list(islice(Countdown(2).then(Spin()).delays(), 3)) == [2.0, 1.0, 0.0]


def test_a_rule_without_delays_cannot_be_made() -> None:
    unfinished = type("Unfinished", (Schedule,), {})
    for cls in (Schedule, unfinished):
        with pytest.raises(TypeError, match=r"abstract method '?delays"):
            cls()


# -- refusals: the text names field, value and range -----------------------------------------------


def refused(error: type[Exception], make: Callable[[], object], *words: str) -> None:
    """Assert that `make` raises `error` with all of the `words` in its text."""
    with pytest.raises(error) as caught:
        make()
    assert [word for word in words if word not in str(caught.value)] == []


NOT_NUMBERS: list[object] = [True, False, "1", b"1", 1j, {}, Spin()]
NOT_IN_RANGE: list[object] = [nan, inf, -inf, 10**400, -0.25, -1]
BAD_NUMBERS: list[tuple[object, type[Exception]]] = [
    *[(value, TypeError) for value in NOT_NUMBERS],
    *[(value, ValueError) for value in NOT_IN_RANGE],
]
BAD_SECONDS = [*BAD_NUMBERS, (timedelta(microseconds=-1), ValueError)]


@pytest.mark.parametrize("family", BOUNDED)
@pytest.mark.parametrize(("value", "error"), BAD_SECONDS)
def test_bad_seconds(family: Callable[..., Bounded], value: Any, error: type[Exception]) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "initial must": {"initial": value},
        "initial[0] must": {"initial": (value, 1.0)},
        "initial[1] must": {"initial": (0.0, value)},
        "cap must": {"initial": 0.0, "cap": value},
    }
    for field, arguments in wrong.items():
        refused(error, partial(family, **arguments), field, "seconds >= 0", repr(value))


@pytest.mark.parametrize(("value", "error"), BAD_SECONDS)
def test_bad_seconds_in_a_sequence(value: Any, error: type[Exception]) -> None:
    refused(error, lambda: Sequence((0.0, value)), "seconds[1] must", "seconds >= 0", repr(value))


@pytest.mark.parametrize("value", [1.0, "12", b"12", None])
def test_a_sequence_of_what_cannot_be_listed(value: Any) -> None:
    refused(TypeError, lambda: Sequence(value), "seconds must be an iterable", repr(value))


@pytest.mark.parametrize("family", BOUNDED)
def test_ranges_that_are_none(family: Callable[..., Bounded]) -> None:
    refused(ValueError, lambda: family((0.5, 0.25)), "initial must", "low <= high", "(0.5, 0.25)")
    for pair in ((), (1.0,), (1.0, 2.0, 3.0)):
        refused(ValueError, partial(family, pair), "initial must", "(low, high)", repr(pair))
    refused(TypeError, lambda: family(None), "initial must", "seconds >= 0", "None")


@pytest.mark.parametrize("family", BOUNDED)
def test_an_initial_above_the_cap(family: Callable[..., Bounded]) -> None:
    for initial in (3, (1.0, 3.0), timedelta(seconds=3)):
        refused(
            ValueError,
            partial(family, initial, cap=2.5),
            "initial must",
            "0 to",
            "2.5",
            repr(initial),
        )
    assert family(2.5, cap=2.5).cap == 2.5
    assert family((1.0, 2.5), cap=2.5).cap == 2.5


@pytest.mark.parametrize("family", BOUNDED)
def test_more_than_the_longest_delay(family: Callable[..., Bounded]) -> None:
    over = 1.5 * LONGEST
    refused(ValueError, lambda: family(over, cap=None), "initial must", "1e+09", repr(over))
    refused(ValueError, lambda: family(1.0, cap=over), "cap must", "1e+09", repr(over))
    assert family(LONGEST, cap=LONGEST).cap == LONGEST


@pytest.mark.parametrize(
    "make", [*[partial(family, 0.1) for family in JITTERED], partial(Sequence, ())]
)
@pytest.mark.parametrize(("value", "error"), [*BAD_NUMBERS, (1.0001, ValueError), (2, ValueError)])
def test_a_bad_jitter(make: Callable[..., Schedule], value: Any, error: type[Exception]) -> None:
    refused(error, lambda: make(jitter=value), "jitter must", "within 0 to 1", repr(value))


@pytest.mark.parametrize("family", [Exponential, Decorrelated])
@pytest.mark.parametrize(("value", "error"), [*BAD_NUMBERS, (0.9999, ValueError), (0, ValueError)])
def test_a_bad_factor(family: Callable[..., Schedule], value: Any, error: type[Exception]) -> None:
    refused(error, lambda: family(factor=value), "factor must", ">= 1", repr(value))


@pytest.mark.parametrize(("value", "error"), BAD_NUMBERS)
def test_a_bad_power(value: Any, error: type[Exception]) -> None:
    refused(error, lambda: Polynomial(0.1, power=value), "power must", ">= 0", repr(value))


@pytest.mark.parametrize(
    "make",
    [
        partial(Linear, 0.1, jitter=cast("Any", timedelta(0))),
        partial(Exponential, factor=cast("Any", timedelta(2))),
        partial(Polynomial, 0.1, power=cast("Any", timedelta(2))),
    ],
)
def test_a_timedelta_is_no_plain_number(make: Callable[[], Schedule]) -> None:
    refused(TypeError, make, "must be", "datetime.timedelta(")


def test_which_schedules_make_a_waiter_give_up() -> None:
    endless = [Constant(1), Linear(1), Polynomial(1), Exponential(), Fibonacci(1), Spin()]
    assert not any(schedule.gives_up for schedule in [*endless, Decorrelated()])
    assert Sequence((1.0,)).gives_up
    assert Spin().take(3).gives_up
    assert not Spin().take(3).then(Constant(1)).gives_up
    assert not Spin().then(Sequence((1.0,))).gives_up  # it never comes to its end
    assert Spin().take(3).then(Sequence((1.0,))).gives_up
    assert Countdown(3).gives_up  # nobody knows, so it may
