"""Which of the schedules that were tried are worth a look."""

from __future__ import annotations

from dataclasses import replace

from backofflock import Constant, Schedule
from backofflock.simulation import Distribution, Outcome, Scenario, best_of, candidates, simulate

ANY = simulate(Constant(0.01), Scenario(contenders=2, seconds=0.1))


def tried(*figures: tuple[float, float]) -> list[tuple[Schedule, Outcome]]:
    """Return an outcome for each utilisation and number of tries; the delay tells which it is."""
    return [
        (Constant(float(number)), replace(ANY, utilisation=used, tries=tries))
        for number, (used, tries) in enumerate(figures)
    ]


def found(*figures: tuple[float, float]) -> list[tuple[int, str]]:
    best = best_of(tried(*figures))
    return [(int(next(schedule.delays())), why) for schedule, why in best]


def test_one_that_another_beats_in_both_is_left_out() -> None:
    assert found((0.9, 10.0), (0.8, 12.0), (0.5, 3.0), (0.9, 11.0), (0.4, 3.0)) == [
        (0, "begin with this"),
        (2, "tries least"),
    ]


def test_the_thriftiest_that_uses_nearly_as_much_is_the_one_to_begin_with() -> None:
    assert found((0.99, 50.0), (0.95, 10.0), (0.93, 8.0), (0.5, 2.0)) == [
        (0, "uses the lock most"),
        (1, "begin with this"),
        (2, "between"),
        (3, "tries least"),
    ]


def test_of_many_the_ends_and_some_between_are_shown() -> None:
    many = [(1.0 - step / 100, 100.0 - step) for step in range(60)]
    shown = found(*many)
    assert [number for number, _ in shown] == [0, 5, 15, 30, 44, 59]
    assert shown[1] == (5, "begin with this")


def test_nothing_tried_is_nothing_to_suggest() -> None:
    assert best_of([]) == []


def test_what_is_tried_fits_the_hold() -> None:
    texts = [str(schedule) for schedule in candidates(Scenario(hold=Distribution.fixed(0.02)))]
    assert len(set(texts)) == len(texts)
    assert texts[0] == "constant:initial=0.02,jitter=0.5"
    assert texts[-1] == "linear:initial=0..0.02,cap=6,jitter=0.5"
    assert not any(schedule.gives_up for schedule in candidates(Scenario()))
