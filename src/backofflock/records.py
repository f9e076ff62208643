"""The records a lock hands out: frozen and comparable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyio import TaskInfo

__all__ = ["LeaseStatistics", "LockStatistics", "WaitDetails"]


@dataclass(frozen=True, slots=True)
class WaitDetails:
    """What ``on_wait`` is told, and what a DEBUG log record carries, before each nap."""

    lock: str
    """The lock's name; its class and address where it has none."""
    waiter: str
    """Name of the task or thread that waits."""
    attempt: int
    """Number of the try that has just failed, from 1."""
    delay: float
    """Seconds the waiter is about to nap, at the most: a release may cut the nap short."""
    waited: float
    """Seconds it has waited so far."""
    remaining: float | None
    """Seconds left until its deadline, or ``None`` where it has no time limit."""
    ahead: int
    """How many waiters stand before it in the queue."""

    def __str__(self) -> str:
        left = "" if self.remaining is None else f", {self.remaining:.3f} s left"
        return (
            f"{self.waiter} waits for {self.lock}: attempt {self.attempt} failed after "
            f"{self.waited:.3f} s, {self.ahead} ahead, next try in {self.delay:.3f} s{left}"
        )


@dataclass(frozen=True, slots=True)
class LockStatistics:
    """A snapshot of a lock: anyio's three fields, and what contention has cost so far.

    The counters are kept on the contended path only: an acquisition that found the lock free is in
    none of them. Times are in seconds.
    """

    locked: bool
    """Whether somebody holds the lock."""
    owner: TaskInfo | None
    """The task that holds it, as far as the lock knows: a thread is never named."""
    tasks_waiting: int
    """Waiters in the queue: tasks and threads."""
    contended: int
    """Acquisitions that found the lock taken and got it in the end."""
    attempts: int
    """Tries made by waiters, the successful ones included."""
    wakeups: int
    """Naps that a release cut short, or meant to."""
    timeouts: int
    """Waiters that reached a limit and raised `AcquireTimeout`."""
    cancellations: int
    """Waiters that left without the lock for another reason: cancelled, or an error."""
    total_wait: float
    """Seconds waited by all those who got the lock."""
    longest_wait: float
    """The longest of these waits."""


@dataclass(frozen=True, slots=True)
class LeaseStatistics:
    """A snapshot of a distributed lock in this process, and what it has cost so far.

    Counted for one lock object; ``locked`` and ``tasks_waiting`` are of all that share its name and
    backend in this process. Times are in seconds.
    """

    locked: bool
    """Whether this process has the lock, or one of it is asking for it."""
    tasks_waiting: int
    """Tasks and threads of this process that wait for their turn to ask."""
    acquired: int
    """Leases given out."""
    contended: int
    """How many of them took more than one request, or had to wait for others of this process."""
    attempts: int
    """Requests to acquire."""
    handed_over: int
    """Leases that took none: the holder before, in the same process, left the lock to the next."""
    unanswered: int
    """Requests to acquire or release of which nobody knows whether they were carried out."""
    lost: int
    """Leases that ended before they were released."""
    timeouts: int
    """Waiters that reached a limit and raised `AcquireTimeout`."""
    cancellations: int
    """Waiters that left without a lease for another reason: cancelled, or an error."""
    total_wait: float
    """Seconds waited by all those who got a lease."""
    longest_wait: float
    """The longest of these waits."""
