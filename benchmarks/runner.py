"""Rounds: which samples are taken in which order, and the taking of them."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from .bars import Bar
from .cells import Cell
from .peers import Peer, serving
from .samples import Sample
from .workloads import Result, Stuck, take_sample

__all__ = ["Step", "measure", "plan"]

EVERY = 3
"""Peers that no bar names take part in every so many rounds: they are there for context."""

LONG = 1.0
"""Seconds from which a sample is long."""


@dataclass(frozen=True)
class Step:
    """One sample that is to be taken."""

    round: int
    cell: Cell
    peer: Peer
    mode: str
    seconds: float

    @property
    def cost(self) -> float:
        """The seconds it takes, about: setting up and clearing away go by the contenders."""
        return self.seconds + 0.02 + 40e-6 * self.cell.tasks + 1e-3 * self.cell.threads


def plan(
    cells: Sequence[Cell],
    peers: Sequence[Peer],
    rounds: int,
    bars: Collection[Bar],
    *,
    quick: bool = False,
    everybody: bool = False,
    seed: int = 1,
) -> list[Step]:
    """Return the steps of a run: round by round, cell by cell, the peers in an order drawn anew.

    Peers that a bar of the cell compares take part in every sample. The others take part in every
    third round, in long samples in the first alone, in samples that take times once a round where
    bars compare others, and in a quick run not at all; with `everybody` they are like the former. A
    quick run's short samples are half as long, and those that take times are taken once a round.
    """
    rng = random.Random(seed)
    steps = []
    for number in range(rounds):
        for cell in cells:
            present = serving(cell.host, peers)
            for again in range(cell.weight):
                for mode, seconds in _modes(cell, number):
                    long = seconds >= LONG
                    repeat = mode == "timed" and again > 0
                    if quick and ((long and number > 0) or repeat):
                        continue
                    named = _named(bars, cell, mode, quick)
                    turn = number == 0 if long else number % EVERY == 0
                    others = everybody or (turn and not quick and not (repeat and named))
                    chosen = [peer for peer in present if others or peer.name in named]
                    at = number * cell.weight + again
                    length = seconds / 2 if quick and not long else seconds
                    steps += [
                        Step(at, cell, peer, mode, length)
                        for peer in rng.sample(chosen, len(chosen))
                    ]
    return steps


def _named(bars: Collection[Bar], cell: Cell, mode: str, quick: bool) -> set[str]:
    """Return the peers that bars compare; in a quick run only if it is by what `mode` measures."""
    names = set()
    for bar in bars:
        if not quick or mode in cell.modes_of(bar.metric):
            compared = {(bar.cell, bar.peer), (bar.cell, bar.against), (bar.alone, bar.peer)}
            names |= {peer for where, peer in compared if peer and where == cell.id}
    return names


def _modes(cell: Cell, number: int) -> Iterator[tuple[str, float]]:
    if cell.count_seconds:
        yield "count", cell.count_seconds
    if cell.timed_seconds and number % cell.timed_every == 0:
        yield "timed", cell.timed_seconds
    if cell.workload == "waiters" and number == 0:
        yield "memory", 2.5 * cell.tasks / 10_000  # it ends by itself, after about this long


def measure(
    steps: Sequence[Step],
    take: Callable[[Step], Result] | None = None,
    ends: tuple[type[Exception], ...] = (Stuck,),
) -> Iterator[Sample]:
    """Take the samples. A peer that does not end a sample is left out of that cell from there.

    `take` takes one, and raises one of `ends` if there is no end of it.
    """
    take = take or _take
    stuck: set[tuple[str, str]] = set()
    gc.freeze()  # the suite's own objects: collections would go through them in every sample
    try:
        for step in steps:
            cell, peer = step.cell.id, step.peer.name
            if (cell, peer) in stuck:
                continue
            sample = Sample(step.round, cell, peer, step.mode)
            try:
                result = take(step)
            except ends as error:
                stuck.add((cell, peer))
                sample.failure = str(error)
            else:
                sample.figures, sample.quantiles = result.figures, result.quantiles
            yield sample
    finally:
        gc.unfreeze()


def _take(step: Step) -> Result:
    result = take_sample(step.peer, step.cell, step.mode, step.seconds)
    for metric in set(result.figures):
        if step.mode not in step.cell.modes_of(metric):
            del result.figures[metric]
    return result
