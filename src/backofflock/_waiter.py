"""What the contention machine knows of those who wait: their own fields, and who vouches for them.

A waiter's fields, which others read and only it writes (`woken_at` apart, which a waker writes):

==============  ===================================================================
``since``       when it joined the queue
``window``      seconds of waiting within which others may overtake it, or it others
``ticket``      number in order of joining, for the distance from the front
``attempt``     number of the try it is at, from 1
``deadline``    when it gives up, or never
``pledge``      whose promise counts for it: its own, or its event loop's
``resting``     it leaves the tries to one before it
``woken_at``    when a wake-up was sent that it has not answered yet, else never
==============  ===================================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf

__all__ = ["NEVER", "REST", "Pledge", "Waiter"]

NEVER = inf
"""A time that does not come."""

REST = 0.032
"""Seconds after which the first of those who rest on an event loop is looked after.

One that nobody looks after rests that long for each place that it has in the queue.
"""


class Pledge:
    """A promise to be on the move again at some time; until then its waiters are taken for alive.

    A thread has one of its own. The tasks that wait for a lock on one event loop share the loop's:
    if it is late for its promise, all of them are.
    """

    __slots__ = ("promise",)

    def __init__(self) -> None:
        self.promise = NEVER
        """When it will be on the move, at the latest; a wake-up renews one that has lapsed."""


class Waiter(ABC):
    """One acquisition that waits; the hosts say how it naps, is woken and tells the time."""

    __slots__ = (
        "attempt",
        "deadline",
        "pledge",
        "resting",
        "since",
        "ticket",
        "window",
        "woken_at",
    )

    is_watched = False
    """Whether its host ends its rest should a wake-up be lost."""

    clock: Callable[[], float]
    """Returns monotonic seconds, comparable between all waiters of a lock."""

    attempt: int
    since: float
    window: float
    deadline: float
    ticket: int
    pledge: Pledge
    resting: bool
    woken_at: float

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the task or thread that waits."""

    def promise(self, when: float) -> None:
        """Promise to try at `when`, at the latest."""
        self.pledge.promise = when

    @abstractmethod
    def wake(self) -> bool:
        """End its nap, from any thread; return False if it can never run again."""

    def gone(self) -> bool:
        """Return whether it is known that it can never run again."""
        return False
