"""Running scenarios: one run, many runs, and how far they are."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from itertools import repeat
from random import Random
from typing import Protocol

from ..schedules import Schedule
from ._local import LocalWorld
from ._outcome import Outcome, Span, Tally, summed_up
from ._remote import RemoteWorld
from ._scenario import Arrival, Scenario
from ._timeline import Timeline

__all__ = ["Progress", "simulate", "trace"]

Progress = Callable[[float], object]
"""Told now and then which share is done, from 0 to 1."""

_SLICE = 5000
"""Events between two reports of progress."""


class _World(Protocol):
    timeline: Timeline

    def enter(self, number: int, when: float) -> None: ...
    def close(self) -> array[float]: ...


def simulate(
    schedule: Schedule,
    scenario: Scenario,
    *,
    seed: int = 1,
    runs: int = 1,
    progress: Progress | None = None,
) -> Outcome:
    """Return how `schedule` does in `scenario`, over some runs.

    Run r of a seed draws from the same generator whichever the schedule. `progress` is called now
    and then; what it raises ends the simulation. Raises ValueError for a schedule that gives up:
    those who leave cannot be compared with those who wait.

    >>> from backofflock import Exponential
    >>> outcome = simulate(Exponential(), Scenario(contenders=8, seconds=2.0))
    >>> outcome.utilisation < 1, outcome.wait_p50 <= outcome.wait_p99 <= outcome.wait_longest
    (True, True)
    """
    done: list[tuple[Tally, float, array[float]]] = []
    for run in range(runs):
        tally = Tally(scenario.contenders)
        for share in _shares(schedule, scenario, f"{seed}/{run}", tally, done):
            if progress is not None:
                progress((run + share) / runs)
    return summed_up(done)


def trace(schedule: Schedule, scenario: Scenario, *, seed: int = 1) -> list[Span]:
    """Return who held, slept and tried when, in the first run of a seed.

    >>> from backofflock import Constant
    >>> spans = trace(Constant(0.01), Scenario(contenders=2, seconds=0.1))
    >>> {span.what for span in spans} == {"held", "slept", "tried"}
    True
    """
    tally = Tally(scenario.contenders, trace=True)
    for _ in _shares(schedule, scenario, f"{seed}/0", tally, []):
        pass
    assert tally.spans is not None
    return tally.spans


def _shares(
    schedule: Schedule,
    scenario: Scenario,
    seed: str,
    tally: Tally,
    done: list[tuple[Tally, float, array[float]]],
) -> Iterator[float]:
    """Run it once, and yield which share is done; at the end add what came of it to `done`."""
    if schedule.gives_up:
        raise ValueError(f"{schedule!r} gives up: a simulation needs delays that do not end")
    rng, remote = Random(seed), scenario.remote
    world: _World
    if remote is None:
        world = LocalWorld(scenario, schedule, rng, tally)
    else:
        world = RemoteWorld(scenario, remote, schedule, rng, tally)
    arrivals = _arrivals(scenario.arrival, rng)
    for number in range(scenario.contenders):
        world.enter(number, next(arrivals))
    line, limit = world.timeline, scenario.limit
    wanted = scenario.contenders * (scenario.rounds or 0)
    try:
        while not line.run(limit, _SLICE):
            yield max(line.now / limit, len(tally.waits) / wanted if wanted else 0.0)
    finally:
        waits = world.close()  # interrupted, too: else each waiter would look for the next
    done.append((tally, tally.last_end if tally.ended == scenario.contenders else limit, waits))
    yield 1.0


def _arrivals(arrival: Arrival, rng: Random) -> Iterator[float]:
    """Yield the times at which contenders come."""
    if arrival.kind == "burst":
        yield from (arrival.value * rng.random() for _ in repeat(None))
    now = 0.0
    while True:
        now += rng.expovariate(arrival.value)
        yield now
