"""What the timelines of a contest say: pure functions of turns, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Turn", "free_while_waited", "longest_wait", "overlaps", "total_wait"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One contender's way to the lock and through it. Times are monotonic seconds."""

    contender: str
    """Name of the thread or task."""
    asked: float
    """When it began to wait."""
    decided: float
    """When it had the lock, noted under the lock; or when it gave up."""
    released: float | None
    """When it was about to release, noted under the lock; None if it gave up."""
    attempts: int
    """Tries it made, the last one included."""


def total_wait(turns: Iterable[Turn]) -> float:
    """Return the seconds waited by all, those who gave up included.

    >>> total_wait([Turn("a", 0.0, 0.5, 2.0, 1), Turn("b", 1.0, 3.0, None, 4)])
    2.5
    """
    return sum(turn.decided - turn.asked for turn in turns)


def longest_wait(turns: Iterable[Turn]) -> float:
    """Return the seconds of the longest wait; 0 where nobody waited.

    >>> longest_wait([Turn("a", 0.0, 0.5, 2.0, 1), Turn("b", 1.0, 3.0, None, 4)])
    2.0
    """
    return max((turn.decided - turn.asked for turn in turns), default=0.0)


def free_while_waited(turns: Iterable[Turn]) -> float:
    """Return for how many seconds nobody held the lock although somebody waited for it.

    Here ``a`` holds from 0 to 2, and ``b``, waiting since 1, only comes at 5:

    >>> free_while_waited([Turn("a", 0.0, 0.0, 2.0, 1), Turn("b", 1.0, 5.0, 6.0, 3)])
    3.0
    """
    changes: list[tuple[float, int, int]] = []  # when, waiters more or less, holders more or less
    for turn in turns:
        changes.append((turn.asked, 1, 0))
        changes.append((turn.decided, -1, 0))
        if turn.released is not None:
            changes.append((turn.decided, 0, 1))
            changes.append((turn.released, 0, -1))
    changes.sort()
    free, waiters, holders, since = 0.0, 0, 0, 0.0
    for when, waiting, holding in changes:
        if waiters > 0 and holders == 0:
            free += when - since
        since = when
        waiters += waiting
        holders += holding
    return free


def overlaps(turns: Iterable[Turn]) -> int:
    """Return how many holds began before an earlier one had ended: 0 if the lock excludes.

    >>> overlaps([Turn("a", 0.0, 0.0, 2.0, 1), Turn("b", 0.0, 1.5, 3.0, 1)])
    1
    """
    holds = sorted((turn.decided, turn.released) for turn in turns if turn.released is not None)
    found, end = 0, float("-inf")
    for began, ended in holds:
        found += began < end
        end = max(end, ended)
    return found
