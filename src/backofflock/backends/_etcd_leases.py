"""What a process knows of its leases of etcd: those that a token may have, and those of none.

A lease is granted for a token, to create its key with. Once the token is released it is idle, and
serves the next one.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from ..leases import clock

__all__ = ["Idle", "Known", "Lease"]

DOUBTFUL = 8
"""Leases that a token may have by grants that were not answered; older ones end by themselves."""

IDLE = 16
"""Leases of one length that are kept for the next tokens; more are revoked."""


class Lease(NamedTuple):
    """A lease of etcd that was alive."""

    number: int
    asked: int
    """The seconds that it was asked for."""
    sent: float
    """When the last request to grant or prolong it was sent that was answered."""
    ttl: float
    """Seconds that it lasts from then on at least, by etcd's own word."""

    def is_stale(self) -> bool:
        """Return whether it is time to prolong it."""
        return clock() - self.sent > self.ttl / 3

    def is_over(self) -> bool:
        """Return whether it may have ended."""
        return clock() >= self.sent + self.ttl


class Known:
    """What is known here of a token. Calls for one token may overlap."""

    __slots__ = ("had_it", "is_released", "lease", "numbers", "open")

    def __init__(self) -> None:
        self.lease: Lease | None = None
        """The one in use."""
        self.numbers: list[int] = []
        """Of all leases that it may have. Who takes one out of here decides what becomes of it."""
        self.open: set[object] = set()
        """Calls under way or left without an answer: their requests may yet come to etcd."""
        self.had_it = False
        """Whether a release that was not answered to its end has seen that it had the lock."""
        self.is_released = False

    def owns(self, number: int) -> None:
        """Note a lease that it may have."""
        self.takes_out(number)
        self.numbers.append(number)
        del self.numbers[:-DOUBTFUL]

    def takes_out(self, number: int) -> bool:
        """Take a lease from the token; return False if another call has."""
        try:
            self.numbers.remove(number)
        except ValueError:
            return False
        return True


class Idle:
    """Leases that belong to no token. A token gets one of them before another is asked for."""

    def __init__(self) -> None:
        self._leases: dict[tuple[int, int], list[Lease]] = {}

    def give(self, lease: Lease) -> bool:
        """Return whether there is room for one more."""
        # By process: after a fork both would use it, and one of them revoke it.
        leases = self._leases.setdefault((os.getpid(), lease.asked), [])
        if len(leases) >= IDLE:
            return False
        leases.append(lease)
        return True

    def take(self, seconds: int) -> Lease | None:
        """Return one that was asked for so many seconds and may be alive."""
        leases = self._leases.get((os.getpid(), seconds), [])
        while True:
            try:
                lease = leases.pop()
            except IndexError:
                return None
            if not lease.is_over():
                return lease
