"""What each actor does: drawn from the run's seed and the actor's name, and from nothing else.

No draw depends on how a step went. So the same seed gives the same programs, however the machine
interleaves them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

__all__ = ["Disturbance", "Step", "dice", "disturbances", "fingerprint", "steps"]


@dataclass(frozen=True, slots=True)
class Step:
    """One acquisition, and what comes with it; times are in seconds."""

    verb: str
    """How it asks for the lock."""
    limit: float | None
    """How long it is willing to wait; None is without limit."""
    tries: int
    """After how many tries it leaves, where it tries step by step."""
    hold: float
    """How long it stays inside; 0 is no nap at all."""
    fails: bool
    """Whether an error ends its section."""
    pause: float
    """How long it rests afterwards."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What happens on an event loop, besides its actors' steps."""

    blocks: bool
    """Whether the loop is blocked; else an actor is cancelled."""
    who: float
    """Which actor, as a part of all."""
    seconds: float
    """How long the loop is blocked."""
    pause: float
    """How long it is left alone before."""


def dice(seed: int, name: str) -> Random:
    """Return the randomness of one actor: the same in every process and Python version."""
    return Random(f"{seed}/{name}")


def steps(rng: Random, verbs: tuple[str, ...]) -> Iterator[Step]:
    """Yield the steps of an actor without end: bursts of quick ones, and a lull after each."""
    while True:
        for left in reversed(range(rng.randint(3, 25))):
            yield Step(
                verb=rng.choice(verbs),
                limit=rng.choice((None, None, 0.0, rng.uniform(0.0, 0.005), rng.uniform(0.0, 0.1))),
                tries=rng.randint(1, 30),
                hold=rng.choice((0.0, 0.0, 0.0, rng.uniform(0.0, 0.0003), rng.uniform(0.0, 0.001))),
                fails=rng.random() < 0.05,
                pause=rng.uniform(0.0, 0.001) if left else rng.uniform(0.0, 0.1),
            )


def disturbances(rng: Random) -> Iterator[Disturbance]:
    """Yield what befalls a loop: many cancels, and a block of some tens of ms now and then."""
    while True:
        yield Disturbance(
            blocks=rng.random() < 0.03,
            who=rng.random(),
            seconds=rng.uniform(0.010, 0.060),
            pause=rng.uniform(0.0, 0.010),
        )


def fingerprint(programs: dict[str, Iterator[object]], length: int = 200) -> str:
    """Return what tells programs from others: a digest of their first steps."""
    digest = hashlib.sha256()
    for name, program in sorted(programs.items()):
        digest.update(f"{name}: {list(islice(program, length))}\n".encode())
    return digest.hexdigest()[:16]
