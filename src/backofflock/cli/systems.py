"""The reference systems as data: one row each, with the lock and how its contenders wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from backofflock import (
    DEFAULT_SCHEDULE,
    Constant,
    Exponential,
    Linear,
    Quadratic,
    Schedule,
    Spin,
)

from .settings import BadValue

__all__ = ["SYSTEMS", "Limits", "System", "select"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a bounded waiter gives up: a thread by tries, a task by time."""

    tries: int
    seconds: float
    """In seconds of the textbooks, as the schedules have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One row of the demonstration."""

    name: str
    """What ``--only`` takes."""
    form: str
    """The lock or schedule as one writes it, with the times of the textbooks, in seconds."""
    note: str
    """What it does, in one line."""
    schedule: Callable[[float], Schedule] | None
    """Gives the schedule, told how long one second of the textbooks lasts; None: a plain mutex."""
    textbook: bool = True
    """Whether naps are slept out and a free lock is anybody's; else the library's defaults."""
    limits: Limits | None = None
    """If given, contenders step through ``attempts()`` and do other work between two tries."""
    status_lines: bool = False
    """Whether each failed try prints a line."""


SYSTEMS = (
    System(
        name="mutex",
        form="threading.Lock()",
        note="blocks until free; a task awaits asyncio.to_thread(lock.acquire)",
        schedule=None,
    ),
    System(
        name="spin",
        form="Spin()",
        note="spinlock: retries at once, for ever",
        schedule=lambda second: Spin(),
    ),
    System(
        name="spin-bounded",
        form="Spin().take(1000)",
        note="spinlock that gives up after 1000 retries",
        schedule=lambda second: Spin().take(1000),
    ),
    System(
        name="fixed",
        form="Constant(1.0)",
        note="the same interval before every retry",
        schedule=lambda second: Constant(second),
    ),
    System(
        name="random",
        form="Constant((0.0, 1.0))",
        note="each contender draws its own interval once per acquisition",
        schedule=lambda second: Constant((0.0, second)),
    ),
    System(
        name="linear",
        form="Linear((0.0, 1.0))",
        note="draws once, then sleeps 0, 1, 2, 3 ... times that",
        schedule=lambda second: Linear((0.0, second)),
    ),
    System(
        name="quadratic",
        form="Quadratic((0.0, 1.0))",
        note='the "exponential" of the tutorials: 0, 1, 4, 9 ... times that',
        schedule=lambda second: Quadratic((0.0, second)),
    ),
    System(
        name="exponential",
        form="Exponential(0.0625, cap=1.0)",
        note="of the textbooks: random below a limit that doubles up to a cap",
        schedule=lambda second: Exponential(0.0625 * second, cap=second),
    ),
    System(
        name="status",
        form="Linear((0.0, 1.0))",
        note="linear, and a status line per failed try, from on_wait",
        schedule=lambda second: Linear((0.0, second)),
        status_lines=True,
    ),
    System(
        name="bounded",
        form="Exponential(0.0625, cap=1.0)",
        note="attempts(): threads give up after 6 tries, tasks after 2 s; work meanwhile",
        schedule=lambda second: Exponential(0.0625 * second, cap=second),
        limits=Limits(tries=6, seconds=2.0),
    ),
    System(
        name="backofflock",
        form="ThreadBackoffLock()",
        note="the defaults of the library: wake-ups and reservations",
        schedule=lambda second: DEFAULT_SCHEDULE,
        textbook=False,
    ),
)
"""Every row of the design's table of reference systems, and the library itself last."""


def select(names: Iterable[str]) -> tuple[System, ...]:
    """Return the systems of these names, in the order of `SYSTEMS`; all of them for no name.

    >>> [system.name for system in select(["linear", "mutex"])]
    ['mutex', 'linear']
    """
    wanted = {name.lower() for name in names}
    known = [system.name for system in SYSTEMS]
    for name in sorted(wanted.difference(known)):
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        guess = f" (did you mean {near[0]!r}?)" if near else ""
        raise BadValue(
            f"--only: there is no system {name!r}{guess}; the systems are {', '.join(known)}"
        )
    return tuple(system for system in SYSTEMS if not wanted or system.name in wanted)
