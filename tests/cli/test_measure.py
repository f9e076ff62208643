"""The figures of a timeline, against definitions that look at every instant."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backofflock.cli.measure import Turn, free_while_waited, longest_wait, overlaps, total_wait

LATEST = 24
Whole = tuple[int, int, int | None]


def _turns(timeline: list[Whole]) -> list[Turn]:
    return [
        Turn(f"contender-{n}", float(asked), float(decided), released, 1)
        for n, (asked, decided, released) in enumerate(timeline)
    ]


@st.composite
def whole_turn(draw: st.DrawFn) -> Whole:
    """A turn at whole seconds, so that instants can be enumerated and sums are exact."""
    asked, decided, released = sorted(draw(st.tuples(*[st.integers(0, LATEST)] * 3)))
    return asked, decided, draw(st.sampled_from([released, None]))


timelines = st.lists(whole_turn(), max_size=8)


def _free_second(timeline: list[Whole], second: int) -> bool:
    waited = any(asked <= second < decided for asked, decided, _ in timeline)
    held = any(end is not None and begin <= second < end for _, begin, end in timeline)
    return waited and not held


@given(timelines)
@example([(0, 0, 2), (1, 5, 6)])
@example([(0, 3, None)])
@example([(0, 2, 2), (0, 2, 5), (1, 5, 5)])
def test_free_while_waited_counts_the_seconds_with_a_waiter_and_no_holder(
    timeline: list[Whole],
) -> None:
    expected = sum(_free_second(timeline, second) for second in range(LATEST))
    assert free_while_waited(_turns(timeline)) == expected


@given(timelines, st.randoms())
def test_the_order_of_the_turns_does_not_matter(timeline: list[Whole], rng: Random) -> None:
    turns = _turns(timeline)
    mixed = list(turns)
    rng.shuffle(mixed)
    assert free_while_waited(mixed) == free_while_waited(turns)
    assert overlaps(mixed) == overlaps(turns)


@given(timelines)
def test_waits_are_those_of_the_turns_that_gave_up_too(timeline: list[Whole]) -> None:
    waits = [decided - asked for asked, decided, _ in timeline]
    assert total_wait(_turns(timeline)) == sum(waits)
    assert longest_wait(_turns(timeline)) == max(waits, default=0)


@given(timelines)
def test_no_overlap_means_that_all_holds_are_apart(timeline: list[Whole]) -> None:
    holds = [(begin, end) for _, begin, end in timeline if end is not None]
    apart = all(a[1] <= b[0] or b[1] <= a[0] for a, b in combinations(holds, 2))
    assert (overlaps(_turns(timeline)) == 0) == apart


@pytest.mark.parametrize(
    ("timeline", "expected"),
    [
        pytest.param([(0, 0, 9), (0, 1, 2), (0, 3, 4)], 2, id="two within one"),
        pytest.param([(0, 0, 2), (0, 2, 4), (0, 4, 5)], 0, id="end to end"),
        pytest.param([(0, 0, 3), (0, 2, None)], 0, id="giving up is no hold"),
    ],
)
def test_each_hold_that_begins_inside_another_counts_once(
    timeline: list[Whole], expected: int
) -> None:
    assert overlaps(_turns(timeline)) == expected
