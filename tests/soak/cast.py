"""The cast of a run: who there is, on which host, and what each of them will do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .contenders import OWNED_VERBS, SHARED_VERBS, THREAD_VERBS
from .programs import dice, disturbances, fingerprint, steps

__all__ = ["LOOPS", "Options", "Role", "cast", "programs_of"]

LOOPS = {"asyncio A": "asyncio", "asyncio B": "asyncio", "trio": "trio"}
"""The event loops, each in a thread of its own, and what runs them."""


@dataclass(frozen=True)
class Options:
    """What a run is asked to do."""

    minutes: float = 1.0
    seed: int = 0
    threads: int = 4
    """Threads that contend for the shared lock."""
    tasks: int = 4
    """Tasks of each loop that contend for the shared lock, and as many for the owned one."""


@dataclass(frozen=True)
class Role:
    """One who contends: its name, where it lives, which lock it wants, and how it asks."""

    name: str
    place: str
    """Its event loop, or "thread"."""
    site: int
    verbs: tuple[str, ...]


def cast(options: Options) -> list[Role]:
    """Return everybody who contends."""
    roles = [Role(f"thread {n}", "thread", 0, THREAD_VERBS) for n in range(options.threads)]
    for loop in LOOPS:
        for site, verbs in enumerate((SHARED_VERBS, OWNED_VERBS)):
            lock = ("shared", "owned")[site]
            roles += [Role(f"{loop} {lock} {n}", loop, site, verbs) for n in range(options.tasks)]
    return roles


def programs_of(options: Options, phase: str) -> str:
    """Return what tells the programs of a run's phase from those of another."""
    programs: dict[str, Iterator[object]] = {
        role.name: steps(dice(options.seed, f"{phase}/{role.name}"), role.verbs)
        for role in cast(options)
    }
    for loop in LOOPS:
        programs[f"{loop} monkey"] = disturbances(dice(options.seed, f"{phase}/{loop} monkey"))
    return fingerprint(programs)
