"""What listeners are told: `LockEvent`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Kind", "LockEvent", "Outcome"]

Kind: TypeAlias = Literal["wait", "hold"]
Outcome: TypeAlias = Literal["acquired", "timeout", "cancelled", "error", "released", "lost"]


@dataclass(frozen=True, slots=True)
class LockEvent:
    """What listeners are told of, see `backofflock.instrument`: a wait or a hold has just ended.

    There is one ``hold`` for each acquisition, and one ``wait`` for each that did not get the lock
    at once. Fit for labels of metrics, having few values: `kind`, `lock`, `face` and `outcome`. Not
    fit: `waiter`.

    >>> print(LockEvent("wait", "orders", "BackoffLock", "acquired", 0.25, 3, "Task-7"))
    Task-7 waited 0.250 s for orders: acquired, 3 attempts
    >>> print(LockEvent("hold", "orders", "BackoffLock", "released", 0.5))
    orders was held for 0.500 s: released
    """

    kind: Kind
    """What has ended: ``wait``, with or without the lock, or ``hold``."""
    lock: str
    """The lock's name; its class where it has none, so that all of these count as one lock."""
    face: str
    """Class of the lock: ``BackoffLock``, ``ThreadDistributedLock``, …"""
    outcome: Outcome
    """Of a wait ``acquired``, ``timeout`` for any limit, ``cancelled`` or ``error``; of a hold
    ``released``, or ``lost`` where a lease had ended before."""
    seconds: float
    """How long it took, to now."""
    attempts: int | None = None
    """Tries that a wait took; ``None`` for a hold."""
    waiter: str | None = None
    """Name of the task or thread that waited; ``None`` for a hold."""

    @property
    def failed(self) -> bool:
        """Whether it ended badly: in a ``timeout``, an ``error`` or a ``lost`` lease."""
        return self.outcome in ("timeout", "error", "lost")

    def __str__(self) -> str:
        if self.kind == "hold":
            return f"{self.lock} was held for {self.seconds:.3f} s: {self.outcome}"
        return (
            f"{self.waiter} waited {self.seconds:.3f} s for {self.lock}: {self.outcome}, "
            f"{self.attempts} {'attempt' if self.attempts == 1 else 'attempts'}"
        )
