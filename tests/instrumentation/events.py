"""Events to give to listeners: one of each end, and real ones."""

from __future__ import annotations

from backofflock import LockEvent, ThreadBackoffLock

__all__ = ["ENDS", "FAST", "HELD", "LOST", "WAITED", "contended_once"]

WAITED = LockEvent("wait", "orders", "BackoffLock", "acquired", 0.25, 3, "Task-7")
HELD = LockEvent("hold", "orders", "BackoffLock", "released", 0.5)
FAST = LockEvent("hold", "orders", "BackoffLock", "released", 0.001)
LOST = LockEvent("hold", "jobs", "DistributedLock", "lost", 30.0)
ENDS = (
    WAITED,
    LockEvent("wait", "orders", "BackoffLock", "timeout", 0.001, 1, "Task-8"),
    LockEvent("wait", "orders", "BackoffLock", "cancelled", 0.001, 1, "Task-9"),
    LockEvent("wait", "orders", "BackoffLock", "error", 0.001, 1, "Task-10"),
    HELD,
    LOST,
)


def contended_once() -> None:
    """Hold a lock, and wait for it in vain."""
    lock = ThreadBackoffLock(max_attempts=1, name="orders")
    with lock:
        assert not lock.acquire()
