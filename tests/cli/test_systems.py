"""The rows of the demonstration as data."""

from __future__ import annotations

import random
from itertools import islice

import pytest

import backofflock
from backofflock.cli.settings import BadValue
from backofflock.cli.systems import SYSTEMS, System, select

NAMES = [system.name for system in SYSTEMS]


def _system(name: str) -> System:
    (system,) = select([name])
    return system


def test_every_reference_system_has_a_row_and_the_library_is_the_last() -> None:
    assert NAMES == [
        "mutex",
        "spin",
        "spin-bounded",
        "fixed",
        "random",
        "linear",
        "quadratic",
        "exponential",
        "status",
        "bounded",
        "backofflock",
    ]
    assert [system.name for system in SYSTEMS if system.status_lines] == ["status"]
    assert [system.name for system in SYSTEMS if system.limits is not None] == ["bounded"]
    assert [system.name for system in SYSTEMS if not system.textbook] == ["backofflock"]


@pytest.mark.parametrize(
    "system",
    [system for system in SYSTEMS if system.name not in {"mutex", "backofflock"}],
    ids=lambda system: system.name,
)
def test_what_a_row_says_it_runs_is_what_it_runs(system: System) -> None:
    said = eval(system.form, dict(vars(backofflock)))
    assert system.schedule is not None
    assert system.schedule(1.0) == said


def test_the_last_row_runs_the_default_schedule() -> None:
    schedule = _system("backofflock").schedule
    assert schedule is not None
    assert schedule(0.5) == backofflock.DEFAULT_SCHEDULE


@pytest.mark.parametrize("name", ["fixed", "random", "linear", "quadratic", "exponential"])
def test_the_scale_stretches_every_time_of_a_textbook(name: str) -> None:
    schedule = _system(name).schedule
    assert schedule is not None
    seconds = list(islice(schedule(1.0).delays(random.Random(5)), 6))
    scaled = list(islice(schedule(0.25).delays(random.Random(5)), 6))
    assert scaled == pytest.approx([0.25 * delay for delay in seconds])


def test_no_name_selects_all_and_names_keep_the_order_of_the_table() -> None:
    assert select([]) == SYSTEMS
    chosen = select(["backofflock", "spin", "spin", "MUTEX"])
    assert [system.name for system in chosen] == ["mutex", "spin", "backofflock"]


@pytest.mark.parametrize(
    ("name", "guess"), [("liner", "linear"), ("quadratc", "quadratic"), ("mutexes", "mutex")]
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str, guess: str) -> None:
    with pytest.raises(BadValue, match=f"'{name}' .did you mean '{guess}'.*{', '.join(NAMES)}"):
        select(["spin", name])


def test_a_name_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(BadValue, match="no system 'zzz'; the systems are"):
        select(["zzz"])
