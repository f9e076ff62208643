"""The numbers of the schedules: formulas, what is drawn when, and jitter."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from math import isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backofflock.schedules import (
    Constant,
    Decorrelated,
    Exponential,
    Fibonacci,
    Linear,
    Polynomial,
    Quadratic,
    Schedule,
    Sequence,
    Spin,
)

from .schedule_kinds import (
    ALMOST_ONE,
    BOUNDED,
    JITTERED,
    Bounded,
    Jittered,
    Script,
    Stuck,
    any_schedule,
    first,
)

# -- the numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Spin(), [0.0] * 11),
        (Constant(1.0), [1.0] * 11),
        (Linear(0.3), [0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4, 2.7, 3.0]),
        (Quadratic(0.3), [0.0, 0.3, 1.2, 2.7, 4.8, 7.5, 10.8, 14.7, 19.2, 24.3, 30.0]),
        (Polynomial(0.5), [0.0, 0.5, 2.0, 4.5, 8.0, 12.5, 18.0, 24.5, 32.0, 40.5, 50.0]),
        (Polynomial(0.5, power=3, cap=30), [0.0, 0.5, 4.0, 13.5] + [30.0] * 7),
        (Exponential(0.1, cap=1.0, jitter=0), [0.1, 0.2, 0.4, 0.8] + [1.0] * 7),
        (Exponential(2, cap=99, jitter=0, factor=3), [2.0, 6.0, 18.0, 54.0] + [99.0] * 7),
        (Fibonacci(1.0), [1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, 89.0]),
        (Sequence((0.1, 0, 7)), [0.1, 0.0, 7.0]),
    ],
    ids=repr,
)
def test_the_delays_are_those_of_the_table(schedule: Schedule, expected: list[float]) -> None:
    assert [round(delay, 12) for delay in first(11, schedule)] == expected


@settings(deadline=None)
@given(st.floats(1e-6, 0.5), st.floats(0.5, 1e6), st.floats(1.0, 10.0), st.floats(0.0, 6.0))
def test_every_ceiling_is_its_formula(
    initial: float, cap: float, factor: float, power: float
) -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    formulas: list[tuple[Schedule, Callable[[int], float | Fraction]]] = [
        (Constant(initial, cap), lambda k: 1),
        (Linear(initial, cap), lambda k: k),
        (Quadratic(initial, cap), lambda k: k**2),
        (Polynomial(initial, cap, power=power), lambda k: k**power),
        (Exponential(initial, cap, 0.0, factor=factor), lambda k: Fraction(factor) ** k),
        (Fibonacci(initial, cap), lambda k: fibonacci[k]),
    ]
    for schedule, multiple in formulas:
        for k, delay in enumerate(first(40, schedule)):
            assert isclose(delay, min(cap, initial * multiple(k)), rel_tol=1e-9)


def test_decorrelated_draws_each_delay_from_a_range_that_the_last_one_sets() -> None:
    draws = [0.5, 0.25, ALMOST_ONE, 0.9, 0.0]
    expected, previous = [], 0.1
    for u in draws:
        previous = 0.1 + (min(2.0, 3.0 * previous) - 0.1) * u
        expected.append(previous)
    schedule = Decorrelated(0.1, cap=2.0, factor=3.0)
    assert first(5, schedule, Script(*draws)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("family", BOUNDED)
def test_a_range_is_drawn_once_for_each_acquisition_and_kept(
    family: Callable[..., Bounded],
) -> None:
    schedule = family((2.0, 10.0), cap=500.0)
    for u, unit in ((0.0, 2.0), (0.25, 4.0), (0.75, 8.0)):
        rng = Script(u, *[0.5] * 20)
        kept = family(unit, cap=500.0)
        assert first(20, schedule, rng) == first(20, kept, Stuck(0.5))


def test_contenders_draw_from_the_whole_range_and_differ() -> None:
    schedule, rng = Constant((1.0, 3.0)), random.Random(20)
    units = [delay for _ in range(1000) for delay in set(first(9, schedule, rng))]
    assert len(set(units)) == len(units) == 1000
    assert 1.0 <= min(units) < 1.02
    assert 2.98 < max(units) < 3.0


@settings(deadline=None)
@given(any_schedule(), st.integers(), st.integers())
def test_a_seed_decides_all_and_iterators_share_nothing(
    schedule: Schedule, seed: int, other_seed: int
) -> None:
    alone = first(40, schedule, random.Random(seed))
    ours = schedule.delays(random.Random(seed))
    theirs = schedule.delays(random.Random(other_seed))
    interleaved = []
    for delay in islice(ours, 40):
        interleaved.append(delay)
        next(theirs, None)
    assert interleaved == alone
    assert first(40, schedule, random.Random(seed)) == alone


@pytest.mark.parametrize("schedule", [Exponential(), Decorrelated(), Sequence([1.0] * 9, 0.5)])
def test_without_an_rng_the_module_random_decides(schedule: Schedule) -> None:
    before = random.getstate()
    try:
        random.seed(20)
        assert first(9, schedule) == first(9, schedule, random.Random(20))
    finally:
        random.setstate(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_does_not_nap_in_step_with_its_parent() -> None:
    # In a process of its own: a fork beside the threads of other tests is not safe.
    program = """
import os
from itertools import islice
from backofflock import Exponential

schedule = Exponential()
next(schedule.delays())
reader, writer = os.pipe()
child = os.fork()
delays = repr(list(islice(schedule.delays(), 5)))
if child == 0:
    os.write(writer, delays.encode())
    os._exit(0)
os.close(writer)
print(delays)
print(os.read(reader, 10_000).decode())
os.waitpid(child, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    parent, child = done.stdout.splitlines()
    assert parent.count(",") == child.count(",") == 4
    assert parent != child


# -- jitter ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.sampled_from(JITTERED),
    st.floats(0.0, 0.5),
    st.floats(0.5, 1e6),
    st.floats(0.0, 1.0),
    st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=30, max_size=30),
)
def test_jitter_takes_its_share_below_the_ceiling(
    family: Callable[..., Jittered], initial: float, cap: float, jitter: float, draws: list[float]
) -> None:
    ceilings = first(30, family(initial, cap=cap, jitter=0.0))
    delays = first(30, family(initial, cap=cap, jitter=jitter), Script(*draws))
    expected = [c * (1.0 - jitter * u) for c, u in zip(ceilings, draws, strict=True)]
    assert delays == expected
    listed = Sequence(ceilings, jitter=jitter).delays(Script(*draws))
    assert list(listed) == expected


@pytest.mark.parametrize(
    ("schedule", "low"),
    [
        (Exponential(0.1, cap=1.0), 0.0),
        (Exponential(0.1, cap=1.0, jitter=0.5), 0.5),
        (Quadratic(0.1, cap=1.0, jitter=0.2), 0.8),
        (Constant(1.0, jitter=0.4), 0.6),
        (Sequence([1.0] * 20_020, jitter=0.5), 0.5),
        (Decorrelated(0.1, cap=1.0, factor=1e6), 0.1),
    ],
    ids=repr,
)
def test_at_the_cap_delays_are_spread_evenly_and_do_not_pile_up(
    schedule: Schedule, low: float
) -> None:
    delays = list(islice(schedule.delays(random.Random(20)), 20, 20_020))
    assert len(set(delays)) > 19_990
    assert max(delays) < 1.0
    tenths = [0] * 10
    for delay in delays:
        tenths[min(9, int((delay - low) / (1.0 - low) * 10))] += 1
    # 2,000 expected in each; the standard deviation is 42.
    assert min(tenths) > 1_800
    assert max(tenths) < 2_200


def test_the_default_factor_of_decorrelated_does_not_pile_up_either() -> None:
    delays = first(20_000, Decorrelated(0.1, cap=1.0), random.Random(20))
    assert sum(delay > 0.999 for delay in delays) < 100
    assert sum(delay > 0.9 for delay in delays) > 1_000
