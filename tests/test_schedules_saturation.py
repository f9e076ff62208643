"""What the schedules keep to, at any retry: finite, within the cap, and of constant cost."""

from __future__ import annotations

import gc
import random
import re
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from heapq import heappop, heappush, heapreplace
from itertools import count, islice
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backofflock import schedules
from backofflock.schedules import (
    LONGEST,
    Constant,
    Exponential,
    Polynomial,
    Rng,
    Schedule,
    Spin,
)

from .schedule_kinds import BOUNDED, Bounded, Stuck, bounded, first, rngs, top

# -- saturation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", BOUNDED)
@settings(deadline=None, max_examples=6)
@given(st.data(), rngs())
def test_delays_stay_within_the_cap_for_100_000_retries(
    family: Callable[..., Bounded], data: st.DataObject, rng: Rng
) -> None:
    schedule = data.draw(bounded([family]))
    cap = top(schedule)
    in_bounds = [0.0 <= delay <= cap for delay in islice(schedule.delays(rng), 100_001)]
    assert len(in_bounds) == 100_001
    assert all(in_bounds)


@settings(deadline=None)
@given(bounded(), rngs())
def test_any_fields_and_any_randomness_stay_within_the_cap(schedule: Bounded, rng: Rng) -> None:
    # 1,200 retries: past 1,024 doublings, whatever the start.
    assert [
        delay for delay in first(1_200, schedule, rng) if not 0.0 <= delay <= top(schedule)
    ] == []


@settings(deadline=None)
@given(bounded(), st.floats(0, 1, exclude_max=True))
def test_a_delay_costs_at_most_one_draw(schedule: Bounded, u: float) -> None:
    rng = Stuck(u)
    first(300, schedule, rng)
    assert rng.draws <= 301


@pytest.mark.parametrize("initial", [5e-324, 1e-308, 1e-30, 1e-3])
@pytest.mark.parametrize("factor", [2.0, 1e300])
@pytest.mark.parametrize("cap", [None, 1.0])
def test_no_number_of_doublings_overflows(initial: float, factor: float, cap: float | None) -> None:
    delays = first(5_000, Exponential(initial, cap, jitter=0.0, factor=factor))
    assert delays == sorted(delays)
    assert delays[0] == initial
    assert delays[-1] == (LONGEST if cap is None else cap)


def test_a_very_large_power_of_a_tiny_initial_saturates() -> None:
    schedule = Polynomial(1e-300, cap=1.0, power=1e308)
    assert first(5, schedule) == [0.0, 1e-300, 1.0, 1.0, 1.0]
    # 3.0 ** 1000 overflows, 2.0 ** 1000 does not.
    assert first(4, Polynomial(1e-300, power=1000)) == [
        0.0,
        1e-300,
        pytest.approx(2.0**1000 * 1e-300),
        LONGEST,
    ]


@pytest.mark.parametrize(
    "schedule", [Exponential(0.2, jitter=0, factor=1), Polynomial(0.2, power=0)]
)
def test_growth_of_nothing_is_constant(schedule: Schedule) -> None:
    assert set(first(2_000, schedule)) == {0.2}


@pytest.mark.parametrize("initial", [0.0, 0, (0.0, 0.0), timedelta(0)])
@pytest.mark.parametrize("family", BOUNDED)
def test_an_initial_of_zero_never_sleeps(family: Callable[..., Bounded], initial: Any) -> None:
    for cap in (0.0, 1.0, None):
        assert set(first(2_000, family(initial, cap=cap), Stuck(0.3))) == {0.0}


STEADY: list[Schedule] = [
    *[family(1e-9, cap=1.0) for family in BOUNDED],
    *[family((1e-9, 1e-8)) for family in BOUNDED],
    Exponential(1e-3, cap=None, factor=1.0 + 1e-9),
    Spin().take(3).then(Exponential()).take(10**9),
]


def lines_run(step: Callable[[], object]) -> int:
    """Return how many lines of Python `step` runs: its work, whatever the machine is busy with."""
    lines = 0

    def tracer(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        step()
    finally:
        sys.settrace(before)
    return lines


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Keep the garbage collector out of the counts: it runs callbacks written in Python."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("schedule", STEADY, ids=repr)
def test_the_work_and_the_memory_of_a_step_do_not_grow(schedule: Schedule) -> None:
    delays = schedule.delays(random.Random(20))
    early = max(lines_run(lambda: next(delays)) for _ in range(50))
    tracemalloc.start()
    try:
        deque(islice(delays, 1_000), maxlen=0)
        before, _ = tracemalloc.get_traced_memory()
        deque(islice(delays, 9_000), maxlen=0)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1_000
    deque(islice(delays, 90_000), maxlen=0)
    assert max(lines_run(lambda: next(delays)) for _ in range(50)) <= early


# -- the rule of thumb -----------------------------------------------------------------------------


def utilisation(schedule: Schedule, waiters: int, hold: float, holds: int) -> float:
    """Return the part of the time a lock is held that `waiters` try for, and nobody is woken.

    Whoever takes the lock is replaced by a newcomer, so that there are always as many.
    """
    rng, number = random.Random(20), count()
    naps = [schedule.delays(rng) for _ in range(waiters)]
    ends = sorted((next(nap), next(number), nap) for nap in naps)  # a heap too
    began = ends[0][0]
    for _ in range(holds):
        taken, _, _ = heappop(ends)
        nap = schedule.delays(rng)
        heappush(ends, (taken + next(nap), next(number), nap))
        while (soonest := ends[0])[0] < taken + hold:
            end, _, nap = soonest
            heapreplace(ends, (end + next(nap), next(number), nap))
    return holds * hold / (ends[0][0] - began)


@pytest.mark.parametrize("waiters", [10, 30, 100])
def test_the_rule_of_thumb_holds_within_six_percent(waiters: int) -> None:
    # Full jitter below 20 holds: naps of 10 holds in the mean, as in the docstring's example.
    rule = re.search(r"utilisation = (.+)", schedules.__doc__ or "")
    assert rule is not None
    told = eval(rule[1], {"c": 10.0, "N": waiters, "h": 1.0})
    seen = utilisation(Constant(20.0, jitter=1.0), waiters, hold=1.0, holds=3_000)
    assert seen == pytest.approx(told, rel=0.06)
    example = {10: 1 / 2, 100: 9 / 10}
    assert told == pytest.approx(example.get(waiters, told), rel=0.02)
