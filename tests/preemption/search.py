"""The search: every plan of a scenario with so many preemptions, or as many as make a difference.

The plan without preemptions is played first; a plan with one more is a plan that was played, and a
later point of that play at which the other thread could have run instead. That who begins is free
is no preemption: a point 0 in a plan is not counted.

Of two neighbouring points one is left out where the plans are equal: a thread that is preempted at
point p, before it touches a place, and again at the next point, after it did, differ in nothing if
the other thread, until it gives the turn back, touches that place not at all, or both only read.
What is preempted later on is then the same too. `reduce=False` plays them all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import chain, takewhile
from typing import Any

from tests.contract.subjects import Make

from .plays import Play
from .scenarios import Scenario
from .scheduler import Run, Stage, Step

__all__ = ["Found", "Tally", "perform", "search"]

Plan = tuple[int, ...]
Progress = Callable[["Tally"], None]


@dataclass(frozen=True)
class Found:
    """A broken promise, and the plan that broke it."""

    scenario: str
    plan: Plan
    complaints: tuple[str, ...]

    @property
    def replay(self) -> str:
        """What ``--replay`` takes."""
        return f"{self.scenario}:{','.join(map(str, self.plan))}"

    def __str__(self) -> str:
        return f"{self.replay}: {'; '.join(self.complaints)}"


@dataclass
class Tally:
    """What a search has played, and what it found."""

    scenario: str
    bound: int
    plays: Counter[int] = field(default_factory=Counter)
    """How many plans were played, by how many preemptions they have."""
    equal: int = 0
    """How many neighbouring points were left out."""
    points: int = 0
    """The most scheduling points of one play."""
    outcomes: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """What the threads said of how it went, in the order in which they said it."""
    found: list[Found] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """The number of plans played."""
        return sum(self.plays.values())

    def as_json(self) -> dict[str, Any]:
        """Return what can be written as JSON."""
        outcomes = {", ".join(outcome): times for outcome, times in self.outcomes.items()}
        found = [{"replay": each.replay, "complaints": each.complaints} for each in self.found]
        plays = {str(count): self.plays[count] for count in sorted(self.plays)}
        return {**asdict(self), "plays": plays, "outcomes": outcomes, "found": found}


def perform(stage: Stage, scenario: Scenario, plan: Plan, make: Make | None = None) -> Run:
    """Play a scenario by a plan; its complaints are those of the scenario's end too."""
    stage.now = 100.0
    play = Play(stage, make or scenario.make)
    bodies = scenario.cast(play)
    run = Run(plan, scenario.time_passes, play.too_many_wakeups)
    stage.play(bodies, run)
    if not run.called_off:
        for complaint in play.complaints_at_the_end():
            run.complain(complaint)
    run.outcome = tuple(play.said)
    return run


def search(
    stage: Stage,
    scenario: Scenario,
    bound: int,
    *,
    make: Make | None = None,
    reduce: bool = True,
    most_found: int = 1,
    progress: Progress | None = None,
) -> Tally:
    """Play all plans with up to `bound` preemptions; stop when `most_found` broke a promise."""
    return _Search(stage, scenario, bound, make, reduce, most_found, progress).tally


class _Search:
    def __init__(
        self,
        stage: Stage,
        scenario: Scenario,
        bound: int,
        make: Make | None,
        reduce: bool,
        most_found: int,
        progress: Progress | None,
    ) -> None:
        self.tally = Tally(scenario.name, bound)
        self._stage = stage
        self._scenario = scenario
        self._make = make
        self._reduce = reduce
        self._most_found = most_found
        self._progress = progress
        began = time.perf_counter()
        self._explore((), self._perform(()))
        self.tally.seconds = time.perf_counter() - began

    def _perform(self, plan: Plan) -> Run:
        run = perform(self._stage, self._scenario, plan, self._make)
        tally = self.tally
        tally.plays[_preemptions(plan)] += 1
        tally.points = max(tally.points, len(run.steps))
        tally.outcomes[run.outcome] += 1
        if run.complaints:
            tally.found.append(Found(tally.scenario, plan, tuple(run.complaints)))
        if self._progress is not None and tally.total % 500 == 0:
            self._progress(tally)
        return run

    def _explore(self, plan: Plan, run: Run) -> None:
        """Play the plans that have one preemption more than `plan`, and theirs in turn."""
        steps = run.steps
        block: tuple[set[str], set[str]] | None = None
        for point in range(plan[-1] + 1 if plan else 0, len(steps)):
            if len(self.tally.found) >= self._most_found:
                return
            longer = (*plan, point)
            if not run.open[point] or _preemptions(longer) > self.tally.bound:
                block = None
                continue
            if block is not None and _is_equal(steps, point, block):
                self.tally.equal += 1
                continue
            other = self._perform(longer)
            if other.steps[: point + 1] != steps[: point + 1]:
                ways = zip(steps, other.steps, strict=False)
                where = next((n for n, (was, now) in enumerate(ways) if was != now), None)
                raise RuntimeError(
                    f"the plan {longer} of {self.tally.scenario} went another way from step {where}"
                    f" on: {steps[where : point + 1]}, then {other.steps[where : point + 1]}"
                )
            block = _block_after(other.steps, point) if self._reduce else None
            self._explore(longer, other)


def _preemptions(plan: Plan) -> int:
    return len(plan) - (0 in plan)


def _is_equal(steps: list[Step], point: int, block: tuple[set[str], set[str]]) -> bool:
    """Whether being preempted at `point` is the same as at the one before, which led to `block`."""
    before, now = steps[point - 1], steps[point]
    reads, writes = block
    player, place, is_write = before
    return player == now[0] and place not in writes and not (is_write and place in reads)


def _block_after(steps: list[Step], point: int) -> tuple[set[str], set[str]]:
    """Return the places that the other thread reads and writes, from a preemption to its end.

    It begins with what the other was about to touch when it last gave the turn away.
    """
    player = steps[point][0]
    reads: set[str] = set()
    writes: set[str] = set()
    pending = next((step for step in reversed(steps[:point]) if step[0] != player), None)
    following = takewhile(lambda step: step[0] != player, steps[point + 1 :])
    for _, place, is_write in chain(following, [] if pending is None else [pending]):
        (writes if is_write else reads).add(place)
    return reads, writes
