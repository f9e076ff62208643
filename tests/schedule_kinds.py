"""Every kind of schedule, drawn by hypothesis, and scripted randomness: for tests of schedules."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeAlias, cast

from hypothesis import strategies as st

from backofflock.schedules import (
    LONGEST,
    Constant,
    Decorrelated,
    Exponential,
    Fibonacci,
    Linear,
    Polynomial,
    Quadratic,
    Rng,
    Schedule,
    Sequence,
    Spin,
)

Jittered: TypeAlias = Constant | Linear | Quadratic | Polynomial | Exponential | Fibonacci
Bounded: TypeAlias = Jittered | Decorrelated

JITTERED: list[Callable[..., Jittered]] = [
    Constant,
    Linear,
    Quadratic,
    Polynomial,
    Exponential,
    Fibonacci,
]
"""The families with the fields `initial`, `cap` and `jitter`."""

BOUNDED: list[Callable[..., Bounded]] = [*JITTERED, Decorrelated]
"""The families with the fields `initial` and `cap`."""

ALMOST_ONE = 1.0 - 2.0**-53
"""The largest number that ``random()`` gives."""


class Script:
    """A source of randomness that gives the listed numbers, and fails when asked for more."""

    def __init__(self, *numbers: float) -> None:
        self._numbers = iter(numbers)

    def random(self) -> float:
        return next(self._numbers)


class Stuck:
    """A source of randomness that always gives the same number, and counts how often."""

    def __init__(self, number: float) -> None:
        self.number = number
        self.draws = 0

    def random(self) -> float:
        self.draws += 1
        return self.number


def first(n: int, schedule: Schedule, rng: Rng | None = None) -> list[float]:
    """Return the first `n` delays of one acquisition, fewer if the schedule ends."""
    return list(islice(schedule.delays(rng), n))


def top(schedule: Bounded) -> float:
    """Return the most that `schedule` may sleep."""
    return LONGEST if schedule.cap is None else cast("float", schedule.cap)


@st.composite
def bounded(draw: st.DrawFn, families: Iterable[Callable[..., Bounded]] = BOUNDED) -> Bounded:
    """Draw any of `families` with any fields it takes, the extremes of the floats included."""
    cap = draw(st.none() | st.floats(0.0, LONGEST))
    seconds = st.floats(0.0, LONGEST if cap is None else cap) | st.just(0.0)
    pair = st.tuples(seconds, seconds).map(lambda drawn: (min(drawn), max(drawn)))
    initial = draw(seconds | pair)
    jitter = draw(st.floats(0.0, 1.0))
    factor = st.floats(1.0, 4.0) | st.floats(1.0, 1e308)
    power = st.floats(0.0, 5.0) | st.floats(0.0, 1e308)
    family: Callable[..., Bounded] = draw(st.sampled_from(list(families)))
    if family is Decorrelated:
        return Decorrelated(initial, cap, factor=draw(factor))
    if family is Exponential:
        return Exponential(initial, cap, jitter, factor=draw(factor))
    if family is Polynomial:
        return Polynomial(initial, cap, jitter, power=draw(power))
    drawn: Bounded = family(initial, cap, jitter)
    return drawn


def rngs() -> st.SearchStrategy[Rng]:
    """Draw any source of randomness, those that keep to the ends of [0, 1) included."""
    ends = st.sampled_from([0.0, 5e-324, 0.5, ALMOST_ONE])
    stuck = st.builds(Stuck, ends | st.floats(0, 1, exclude_max=True))
    return st.one_of(stuck, st.builds(random.Random, st.integers()))


def any_schedule() -> st.SearchStrategy[Schedule]:
    """Draw any schedule, those made with ``take`` and ``then`` included."""
    listed = st.lists(st.floats(0.0, LONGEST), max_size=4)
    leaves: st.SearchStrategy[Schedule] = st.one_of(
        bounded(), st.just(Spin()), st.builds(Sequence, listed, st.floats(0.0, 1.0))
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Schedule.take, inner, st.integers(0, 200)),
            st.builds(Schedule.then, inner, inner),
        ),
        max_leaves=4,
    )
