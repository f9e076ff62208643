"""Leases, and what a backend has to do to give them out.

A backend is anything with these three calls, each of which may be sent again without harm, because
the `token` that names an acquisition was chosen before its first request:

============================  =====================================================================
``try_acquire(n, token, s)``  `Grant` if `token` has lock `n` from now on, or had it already; else
                              `Busy`. A grant ends by itself after `s` seconds without a renewal.
``renew(n, token, s)``        True: `token` still has it, for another `s` seconds. False: it has
                              lost it, for good.
``release(n, token)``         True: `token` had it and has it no longer. False: it did not have it.
                              Either way it is never granted to `token` again, not even by a
                              `try_acquire` that is under way meanwhile. Called once for every
                              token, also for those that never got the lock.
============================  =====================================================================

A grant may bring a block of fences, from `Grant.fence` to `Grant.last`. Then the locks hand it over
within the process, from one holder to the next, each with a fence of its own and without a request:
`release` comes after the last of them. Without a block each holder has a grant of its own.

They answer, or raise: `BackendUnavailable` where nobody knows what became of the request, never as
a way to say no; `BackendRefused` where asking again is of no use. Calls for different tokens may
overlap, from several threads; calls for one token may too, where one was given up as too slow.

That is all. `backofflock.testing.BackendContract` checks a backend; the locks do the rest: the
back-off, the deadlines, the renewal, and the release after a cancel.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Protocol, runtime_checkable

from .errors import BackendUnavailable, LeaseLost

__all__ = ["AsyncBackend", "Backend", "Busy", "Grant", "Lease", "Lost", "clock"]


def _lease_clock() -> Callable[[], float]:
    # On Linux and on macOS the clock of time.monotonic() stands still while the machine sleeps.
    name = "CLOCK_MONOTONIC" if sys.platform == "darwin" else "CLOCK_BOOTTIME"
    if not hasattr(time, name):
        return time.monotonic
    return partial(time.clock_gettime, getattr(time, name))


clock: Callable[[], float] = _lease_clock()
"""Monotonic seconds that also pass while the machine sleeps, where the system can count them."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The lock is the token's."""

    fence: int
    """Larger than that of every earlier grant of the name."""
    ttl: float = inf
    """Seconds from before the request until it ends unless renewed; infinite where the backend sees
    by itself that a holder is gone."""
    last: int | None = None
    """The last of the fences that it brings, from `fence` on: every later grant of the name has
    larger ones. None is a block of one."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Another token has the lock."""

    retry_after: float = 0.0
    """Seconds for which the backend wishes not to be asked again, as in HTTP."""


@runtime_checkable
class Backend(Protocol):
    """The three calls, for threads; this module says what they promise.

    Two attributes are optional. ``blocking = False`` says that no call ever waits for a network, so
    tasks may call it as it is; without it they call it in worker threads. ``native(host)`` returns
    the `AsyncBackend` to use in tasks of ``"asyncio"`` or ``"trio"``, or None.
    """

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Give the lock to `token` unless another has it."""
        ...

    def renew(self, name: str, token: str, ttl: float) -> bool:
        """Prolong the grant of `token`; return whether it still had it."""
        ...

    def release(self, name: str, token: str) -> bool:
        """Take the lock from `token`, for good; return whether it had it."""
        ...


class AsyncBackend(Protocol):
    """The same three calls as coroutines; one that is cancelled may have been carried out."""

    async def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Give the lock to `token` unless another has it."""
        ...

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        """Prolong the grant of `token`; return whether it still had it."""
        ...

    async def release(self, name: str, token: str) -> bool:
        """Take the lock from `token`, for good; return whether it had it."""
        ...


class Lost:
    """Set once a lease has ended: lost, released, or past its deadline without anybody's doing.

    Like an event it can be asked and, in threads, waited for; nobody is needed to set it at the
    deadline.
    """

    __slots__ = ("_bells", "_has_ended", "_unended", "deadline", "failure", "reason", "was_in_time")

    def __init__(self, deadline: float) -> None:
        self.deadline: float = deadline
        self.reason: str = "it could not be renewed in time"
        self.failure: BackendUnavailable | None = None
        self.was_in_time: bool = False
        """Whether it was ended before its deadline."""
        self._has_ended = False
        self._unended = deque((None,))
        self._bells: list[threading.Event] = []
        """One of each thread that waits: most leases have none, and an event is dear."""

    def is_set(self) -> bool:
        """Return whether the lease has ended."""
        return self._has_ended or clock() >= self.deadline

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the lease ends, for `timeout` seconds at the most; return whether it has."""
        until = inf if timeout is None else clock() + timeout
        bell = threading.Event()
        self._bells.append(bell)  # before the look, as `end` rings after it has ended it
        try:
            while not self.is_set():
                # The deadline moves with each renewal: at the one that was known, look again.
                seconds = min(until, self.deadline) - clock()
                if clock() >= until:
                    return False
                bell.wait(min(max(seconds, 0.0), threading.TIMEOUT_MAX))
            return True
        finally:
            self._bells.remove(bell)

    def end(self, reason: str) -> bool:
        """Set it, and say why, unless the deadline was first; return False if it has been ended."""
        in_time = clock() < self.deadline
        try:
            self._unended.pop()  # of two at once, one
        except IndexError:
            return False
        if in_time:
            self.was_in_time = True
            self.reason = reason
        self._has_ended = True
        for bell in tuple(self._bells):
            bell.set()
        return True

    def end_in_child(self) -> None:
        """End it in a forked child, where the threads that wait are no more."""
        self._bells.clear()
        self.end("it is held by the process that this one was forked from")


class Lease:
    """What a distributed lock gives its holder: the lock, for as long as it is renewed.

    Promised: until `remaining()` is 0 the backend gives the lock to nobody else, as far as the
    backend's own promises go; each backend's page has them. Not promised: that *you* are fast
    enough. A process that is stopped for longer than `ttl` finds its lease lost when it goes on,
    and may be in the middle of a write. Only a resource that refuses a fence smaller than one it
    has seen makes the lock exclusive: send `fence` along with everything you write.
    """

    __slots__ = ("fence", "last", "lost", "name", "renewed", "since", "token", "ttl")

    def __init__(
        self, name: str, token: str, fence: int, ttl: float, since: float, last: int | None = None
    ) -> None:
        self.name: str = name
        """Name of the lock."""
        self.token: str = token
        """Names the grant to the backend. Leases that were handed over within a process have it in
        common; what tells them apart is the fence."""
        self.fence: int = fence
        """A number that grows with every lease of the name."""
        self.last: int = fence if last is None else last
        """The last fence of the grant: those up to it are for the next holders in this process."""
        self.ttl: float = ttl
        """Seconds after which it ends unless it is renewed; infinite where it does not."""
        self.since: float = since
        """When it began, by `clock`: before the request that got it."""
        self.renewed: float = since
        """When the last request was sent that prolonged the grant."""
        self.lost: Lost = Lost(since + ttl)
        """An event, set once the lease has ended."""

    def successor(self) -> Lease:
        """Return the lease of the next holder in this process: the same grant, the next fence.

        >>> lease = Lease("orders", "a token", fence=7, ttl=30.0, since=clock(), last=8)
        >>> after = lease.successor()
        >>> after.fence, after.token, after.lost.deadline == lease.lost.deadline
        (8, 'a token', True)
        """
        lease = Lease(self.name, self.token, self.fence + 1, self.ttl, clock(), self.last)
        lease.renewed, lease.lost.deadline = self.renewed, self.lost.deadline
        return lease

    def remaining(self) -> float:
        """Return the seconds until the lease ends if it is not renewed; 0 if it has ended."""
        lost = self.lost
        return 0.0 if lost.is_set() else max(0.0, lost.deadline - clock())

    def ensure_held(self) -> None:
        """Raise `LeaseLost` if the lease has ended: call it before each step that matters.

        >>> lease = Lease("orders", "a token", fence=7, ttl=30.0, since=clock())
        >>> lease.ensure_held()
        >>> lease.lost.end("somebody deleted the key")
        True
        >>> try:
        ...     lease.ensure_held()
        ... except LeaseLost as error:
        ...     error.fence, error.reason
        (7, 'somebody deleted the key')
        """
        if self.lost.is_set():
            raise self.loss() from self.lost.failure

    def loss(self) -> LeaseLost:
        """Return the error that says how it was lost."""
        held = clock() - self.since
        return LeaseLost(self.name, self.fence, held, self.lost.reason)

    def __repr__(self) -> str:
        state = "lost" if self.lost.is_set() else f"{self.remaining():.3f} s left"
        return f"<Lease of {self.name!r}, fence {self.fence}, {state}>"
