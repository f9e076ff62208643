"""Schedules as text: what is printed is read back; what is wrong gets a sentence."""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backofflock import _schedule_text
from backofflock._schedule_text import FAMILIES, parse, text_of
from backofflock.schedules import (
    DEFAULT_SCHEDULE,
    FLEET_SCHEDULE,
    LONGEST,
    POLLING_SCHEDULE,
    Constant,
    Decorrelated,
    Exponential,
    Linear,
    Polynomial,
    Rng,
    Schedule,
    Sequence,
    Spin,
)

from .schedule_kinds import any_schedule

# -- what is printed is read back ------------------------------------------------------------------


@given(any_schedule())
def test_every_schedule_is_read_back_from_its_text(schedule: Schedule) -> None:
    text = text_of(schedule)
    assert parse(text) == schedule
    assert text_of(parse(text)) == text
    assert pickle.loads(pickle.dumps(parse(text))) == schedule


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("exponential:initial=0.05,cap=2", Exponential(0.05, cap=2.0)),
        ("exponential:initial=0.01,cap=1", Exponential()),
        ("exponential:initial=0.01,cap=none", Exponential(cap=None)),
        ("linear:initial=0.3", Linear(0.3)),
        ("quadratic:initial=0..1,cap=10,jitter=0.5", FAMILIES["quadratic"]((0, 1), 10, 0.5)),  # type: ignore[call-arg]
        ("polynomial:initial=0.1,power=1.5", Polynomial(0.1, power=1.5)),
        ("decorrelated:initial=0.01,cap=1,factor=4", Decorrelated(factor=4.0)),
        ("sequence:seconds=(0.1,0.5),jitter=1", Sequence((0.1, 0.5), jitter=1.0)),
        ("sequence:seconds=()", Sequence(())),
        ("spin", Spin()),
        ("spin:take=0", Spin().take(0)),
        ("linear:initial=0.3,take=5", Linear(0.3).take(5)),
        ("(spin:take=5):take=3", Spin().take(5).take(3)),
        ("spin:take=3 then linear:initial=1", Spin().take(3).then(Linear(1.0))),
        ("spin then spin then spin", Spin().then(Spin()).then(Spin())),
        ("spin then (spin then spin)", Spin().then(Spin().then(Spin()))),
        ("(spin then spin):take=4", Spin().then(Spin()).take(4)),
    ],
)
def test_the_text_of_a_schedule(text: str, schedule: Schedule) -> None:
    assert text_of(schedule) == text
    assert parse(text) == schedule


@given(any_schedule())
def test_str_is_that_text_and_schedule_parse_reads_it(schedule: Schedule) -> None:
    assert str(schedule) == f"{schedule}" == text_of(schedule)
    assert Schedule.parse(str(schedule)) == schedule
    assert hash(Schedule.parse(str(schedule))) == hash(schedule)


def test_what_is_read_may_be_of_another_class_than_it_is_asked_of() -> None:
    assert Linear.parse("spin:take=2") == Spin().take(2)


def test_schedule_parse_refuses_what_parse_refuses() -> None:
    with pytest.raises(ValueError, match=r"'liner' \(did you mean 'linear'\?\); there are spin, "):
        Schedule.parse("liner:initial=1")
    with pytest.raises(TypeError, match="text must be a str"):
        Schedule.parse(Linear(1.0))  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", [DEFAULT_SCHEDULE, POLLING_SCHEDULE, FLEET_SCHEDULE], ids=str)
def test_the_defaults_have_a_text(schedule: Schedule) -> None:
    assert parse(text_of(schedule)) == schedule


@pytest.mark.parametrize(
    "number", [0.0, 5e-324, 0.1, 1 / 3, 1e-7, 1.0, 123456789.125, LONGEST], ids=repr
)
def test_no_digit_is_lost(number: float) -> None:
    assert parse(text_of(Constant(number))) == Constant(number)


# -- there is more than one way to write it --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("exponential", Exponential()),
        ("Exponential:CAP=2", Exponential(cap=2.0)),
        ("exponential:cap=2,initial=0.05", Exponential(0.05, cap=2.0)),
        ("linear:initial=(0,1)", Linear((0.0, 1.0))),
        ("linear:initial=(0, 1),cap=2", Linear((0.0, 1.0), cap=2.0)),
        ("linear:initial=0...5", Linear((0.0, 0.5))),
        ("linear:initial=1e-3..1e0", Linear((0.001, 1.0))),
        ("linear:initial=1,cap=NONE", Linear(1.0)),
        (" linear : initial = 1 , cap = 2 ", Linear(1.0, cap=2.0)),
        ("spin:take=2  then\tspin", Spin().take(2).then(Spin())),
        ("(spin)then(spin)", Spin().then(Spin())),
        ("((linear:initial=1))", Linear(1.0)),
        ("sequence:seconds=0.5", Sequence((0.5,))),
        ("sequence:seconds=(0.5)", Sequence((0.5,))),
        ("sequence:seconds=(0.5,)", Sequence((0.5,))),
        ("linear:take=3,initial=1", Linear(1.0).take(3)),
    ],
)
def test_other_texts_that_are_read(text: str, schedule: Schedule) -> None:
    assert parse(text) == schedule


# -- what is wrong ---------------------------------------------------------------------------------

NAMES = (
    "spin, constant, linear, quadratic, polynomial, exponential, fibonacci, decorrelated, sequence"
)

WRONG = [
    ("", f"the name of a schedule is missing; there are {NAMES}"),
    ("liner:initial=1", f"there is no 'liner' (did you mean 'linear'?); there are {NAMES}"),
    ("exp:cap=2", f"there is no 'exp' (did you mean 'exponential'?); there are {NAMES}"),
    ("zzz", f"there is no 'zzz'; there are {NAMES}"),
    ("then", f"there is no 'then'; there are {NAMES}"),
    ("spin then liner", f"there is no 'liner' (did you mean 'linear'?); there are {NAMES}"),
    (
        "exponential:caps=2",
        "exponential has no field 'caps' (did you mean 'cap'?); it may have initial, cap, jitter,",
    ),
    ("spin:initial=1", "spin has no field 'initial'; it may have take"),
    ("(spin):cap=1", "a schedule in brackets has no field 'cap'; it may have take"),
    ("linear:", "linear has a field without a name; it may have initial, cap, jitter, take"),
    ("linear:initial=1,", "linear has a field without a name; it may have"),
    ("linear", "linear needs initial, as in linear:initial=0.1"),
    ("linear:cap=1", "linear needs initial, as in linear:initial=0.1"),
    ("sequence", "sequence needs seconds, as in sequence:seconds=0.1"),
    ("linear:initial", "initial has no value; write it as initial=..."),
    ("linear:initial=", "initial has no value; write it as initial=..."),
    ("linear:initial=1,initial=2", "initial is given twice"),
    (
        "linear:initial=2s",
        "initial must be a number such as 0.5, or a range such as 0..1, not '2s'",
    ),
    ("linear:initial=1..x", "initial must be a number such as 0.5, or a range such as 0..1"),
    ("linear:initial=(0,,1)", "initial must be a number such as 0.5, or a range such as 0..1"),
    ("linear:initial=1,cap=0..1", "cap must be a number such as 0.5, not '0..1'"),
    ("sequence:seconds=0..1", "seconds must be a number such as 0.5, or a list such as (0.1,0.5)"),
    ("linear:initial=-1", "linear: initial must be a finite number of seconds >= 0"),
    ("linear:initial=nan", "linear: initial must be a finite number of seconds >= 0"),
    ("linear:initial=none", "linear: initial must be a finite number of seconds >= 0"),
    ("linear:initial=1..0", "linear: initial must be (low, high) with low <= high"),
    ("linear:initial=(1,2,3)", "linear: initial must be seconds or a pair (low, high)"),
    ("linear:initial=2,cap=1", "linear: initial must be within 0 to cap (1 seconds), not 2.0"),
    ("linear:initial=1,cap=(1,2)", "linear: cap must be a finite number of seconds"),
    ("linear:initial=1,jitter=2", "linear: jitter must be within 0 to 1, not 2.0"),
    ("exponential:factor=0.5", "exponential: factor must be a finite number >= 1, not 0.5"),
    ("spin:take=1.5", f"take must be a whole number of delays from 0 to {sys.maxsize}, not '1.5'"),
    ("spin:take=-1", f"take must be a whole number of delays from 0 to {sys.maxsize}, not '-1'"),
    ("spin:take=9" + "9" * 30, "take must be a whole number of delays from 0 to"),
    ("(spin", "a bracket is not closed"),
    ("spin)", "only ' then ' and another schedule may follow, not ')'"),
    ("spin spin", "only ' then ' and another schedule may follow, not 'spin'"),
    ("spin thenspin", "only ' then ' and another schedule may follow, not 'thenspin'"),
    ("linear:initial=1 cap=2", "only ' then ' and another schedule may follow, not 'cap=2'"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG, ids=[text for text, _ in WRONG])
def test_a_wrong_text_gets_a_sentence_that_says_what_could_stand_there(
    text: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"schedule {text!r}: {sentence}")):
        parse(text)


def test_brackets_without_end_are_an_error_like_others() -> None:
    with pytest.raises(ValueError, match="too many brackets in brackets"):
        parse("(" * 100_000)


def test_what_is_no_text_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="text must be a str such as 'linear:initial=0.1', not 3"):
        parse(3)  # type: ignore[arg-type]


@given(st.text(alphabet="spinlearthn:=,()0.1 ..-e", max_size=40))
def test_any_text_is_a_schedule_or_a_value_error(text: str) -> None:
    try:
        schedule = parse(text)
    except ValueError:
        return
    assert parse(text_of(schedule)) == schedule


# -- schedules of others ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Countdown(Schedule):
    start: int

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        return iter(range(self.start, 0, -1))


class MyLinear(Linear):
    """Not the package's, so its text would be read back as another schedule."""


@pytest.mark.parametrize(
    "schedule",
    [Countdown(3), MyLinear(1.0), Countdown(3).take(1), Spin().then(MyLinear(1.0))],
    ids=repr,
)
def test_a_schedule_of_another_kind_has_no_text(schedule: Schedule) -> None:
    with pytest.raises(TypeError, match=r"has no text: it is none of spin, constant"):
        text_of(schedule)


@pytest.mark.parametrize(
    "schedule", [Countdown(3), MyLinear(1.0), Countdown(3).take(1), Spin().then(MyLinear(1.0))]
)
def test_the_str_of_such_a_schedule_is_its_repr(schedule: Schedule) -> None:
    assert str(schedule) == repr(schedule)


def test_every_family_has_a_name() -> None:
    public = {
        name.lower()
        for name, kind in vars(_schedule_text).items()
        if isinstance(kind, type) and issubclass(kind, Schedule) and kind is not Schedule
    }
    assert {name for name in public if not name.startswith("_")} == set(FAMILIES)
