"""What the contract is run against: each variant of both faces, and how to make one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from backofflock import BackoffLock, Constant, ThreadBackoffLock

Lock: TypeAlias = BackoffLock | ThreadBackoffLock
Direct: TypeAlias = "ThreadBackoffLock | threading.Lock"  # a function before Python 3.13


@dataclass(frozen=True, eq=False)
class Subject:
    """One lock, and what threads use to exclude its tasks: itself, or the lock it is over."""

    lock: Lock
    direct: Direct | None = None

    def waiting(self) -> int:
        """Return how many stand in the queue."""
        return self.lock.statistics().tasks_waiting


class Make(Protocol):
    """Makes a subject; the options are those of the lock's constructor."""

    def __call__(self, **options: Any) -> Subject: ...


@dataclass(frozen=True, eq=False)
class Variant:
    """A kind of subject; calling it makes one."""

    name: str
    face: Callable[..., Lock]
    over: Callable[[], Direct] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def for_threads(self) -> bool:
        """Whether threads use the lock itself."""
        return isinstance(self.face, type) and issubclass(self.face, ThreadBackoffLock)

    @property
    def owned(self) -> bool:
        """Whether the lock knows its owner."""
        return not self.for_threads

    @property
    def wakes(self) -> bool:
        """Whether a release ends the nap of the next waiter."""
        return bool(self.options.get("wake_on_release", True))

    @property
    def strict(self) -> bool:
        """Whether it is first come, first served."""
        return self.wakes and self.options.get("fair_after", 0.0 if self.owned else 0.03) == 0.0

    @property
    def reserves(self) -> bool:
        """Whether a free key is left to the first waiter, at once or in the end."""
        return self.options.get("fair_after", 0.0) is not None

    def __call__(self, **options: Any) -> Subject:
        merged = {**self.options, **options}
        if self.over is None:
            lock = self.face(**merged)
            return Subject(lock, lock if isinstance(lock, ThreadBackoffLock) else None)
        direct = self.over()
        return Subject(self.face(over=direct, **merged), direct)


def waits_for_the_late(make: Make) -> Make:
    """Return what makes the same subjects, but none passes over a waiter that is late.

    For checks of the order: that is promised to waiters that are in time, and a stall of the
    machine may keep a thread or a loop from running for longer than the lock's grace.
    """

    def make_with_grace(**options: Any) -> Subject:
        subject = make(**options)
        subject.lock._contention.grace = 60.0
        return subject

    return make_with_grace


# Naps that are always slept out decide how long the tests of these variants take.
BRISK = Constant(0.001, jitter=0.5)

TASKS = Variant("BackoffLock", BackoffLock)
OVER_LOCK = Variant("BackoffLock-over-Lock", BackoffLock, over=threading.Lock)
OVER_FACE = Variant("BackoffLock-over-ThreadBackoffLock", BackoffLock, over=ThreadBackoffLock)
TASKS_SLEEP_OUT = Variant(
    "BackoffLock-sleeps-out",
    BackoffLock,
    options={"wake_on_release": False, "schedule": BRISK},
)
THREADS = Variant("ThreadBackoffLock", ThreadBackoffLock)
STRICT = Variant("ThreadBackoffLock-strict", ThreadBackoffLock, options={"fair_after": 0.0})
BARGING = Variant("ThreadBackoffLock-barging", ThreadBackoffLock, options={"fair_after": None})
TEXTBOOK = Variant(
    "ThreadBackoffLock-textbook",
    ThreadBackoffLock,
    options={"fair_after": None, "wake_on_release": False, "schedule": BRISK},
)
THREADS_SLEEP_OUT = Variant(
    "ThreadBackoffLock-sleeps-out",
    ThreadBackoffLock,
    options={"wake_on_release": False, "schedule": BRISK},
)

FACES = (TASKS, THREADS)
VARIANTS = (
    TASKS,
    OVER_LOCK,
    OVER_FACE,
    TASKS_SLEEP_OUT,
    THREADS,
    STRICT,
    BARGING,
    TEXTBOOK,
    THREADS_SLEEP_OUT,
)
