"""The gate: of all that want a lock in one process, one asks the backend; the others queue here.

There is one gate for a backend and a name, whichever lock objects, loops and threads ask for it. It
is held from before the first request until after the release, so at most one token of this process
is under way.

Who leaves may leave the lock itself to the next one, as an heirloom: a lease of which the backend
still thinks that it is held. Whoever passes then finds it at the gate. Nothing may stay there that
nobody comes for, so each that goes without having passed looks whether there is one without an heir
and takes it back; so does whoever left it, after the gate is open. Of an heirloom and its heir one
sees the other: the heir leaves the queue before it looks, and the heirloom lies there before its
owner looks at the queue.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from .._hosts import ThreadWaiter, has_ended, in_loop_of
from .._key import KEY
from ..errors import BackendUnavailable, BackoffLockError
from ..leases import Lease, clock
from ..threads import ThreadBackoffLock
from ._turns import Turns

if TYPE_CHECKING:
    from .._contention import Check
    from .._hosts import Task, TaskWaiter
    from .._waiter import Waiter
    from ._policy import Pursuit

__all__ = ["Gate", "gate_of"]

logger = logging.getLogger("backofflock")


class Gate(ThreadBackoffLock):
    """First come, first served, for the tasks and threads of this process."""

    __slots__ = (
        "_turns",
        "backend",
        "forsaken",
        "heirloom",
        "holder",
        "is_orphan",
        "last_failure",
        "lease",
        "pursuit",
        "ticket",
    )

    def __init__(self, name: str, backend: Any) -> None:
        super().__init__(fair_after=0.0, name=name)
        self._contention.face = None  # listeners are told of the leases
        self.backend = backend  # kept alive, so that its id stays its own
        self.ticket: str | None = None
        """Of the one that has passed and not left; no two have the same."""
        self.holder: object = None
        """Its task or thread."""
        self.lease: Lease | None = None
        """What it holds, once it does."""
        self.pursuit: Pursuit | None = None
        """What asks, or has asked, for it."""
        self.last_failure: BackendUnavailable | None = None
        """What became of the last request of the one before, for those who waited behind it."""
        self.heirloom: Lease | None = None
        """What the one before has left, until somebody has made it his or has given it back."""
        self.is_orphan: Callable[[], bool] | None = None
        """Tells whether the event loop of the holder is gone, and nobody left to release."""
        self.forsaken: list[object] = []
        """Tasks that lost the gate that way; kept, so that their coroutines are not closed, and do
        not come to the ends of their bodies, while others use the lock."""
        self._turns = Turns()

    @property
    def failure(self) -> BackendUnavailable | None:
        """What became of the last request of this process, if it was not answered."""
        lease, pursuit = self.lease, self.pursuit  # others may leave meanwhile
        if lease is not None:
            return lease.lost.failure
        return self.last_failure if pursuit is None else pursuit.failure

    def passed(self, holder: object) -> float:
        """Note who has passed; return the seconds to leave the lock to other processes first."""
        self.holder = holder
        if self.heirloom is not None:
            return 0.0  # the turn goes on: the lock was not free in between
        return self._turns.ceded(clock())

    def granted(self, lease: Lease, waited: bool) -> None:
        """Note what the holder got; a wait for another process was no part of the turn."""
        self.lease = lease
        if waited:
            self._turns.has_waited(clock())

    def met_others(self) -> None:
        """Note that another process has the lock."""
        self._turns.met_others(clock())

    def leave(self, ticket: str, heirloom: Lease | None = None) -> bool:
        """Let the next one pass; once, and only for the ticket that has passed."""
        with _mutex:
            if self.ticket != ticket:
                return False
            turns = self._turns
            # Who never had the lock does not leave it: it has been free since the one before.
            had_it = self.lease is not None or self.heirloom is not None
            left = clock() if had_it else turns.left
            failure = self.failure if self._queue else None
            # No call from here to the end of the append: so no signal comes in between.
            self.ticket = self.holder = self.lease = self.is_orphan = self.pursuit = None
            self.last_failure = failure
            self.heirloom, turns.left, self._owner = heirloom, left, None
            self._key.append(KEY)
        if self._queue:
            self._contention.wake_next()
        return True

    def bequeath(self, ticket: str, lease: Lease) -> bool:
        """Leave, and the lease to the next one; return False if there is none, or not in this turn.

        Then look with `reclaim` whether the next one is still there.
        """
        return (
            self._turns.lasts(clock()) and self._has_heir() and self.leave(ticket, heirloom=lease)
        )

    def reclaim(self, ticket: str) -> Lease | None:
        """Return the heirloom that nobody comes for, or that the holder of `ticket` has found.

        With it comes the gate, if `ticket` has not passed it before.
        """
        if self.ticket != ticket:
            if self.heirloom is None or self._has_heir():
                return None
            try:
                del self._key[0]
            except IndexError:
                return None  # somebody has come for it
            self.ticket = ticket
        return self.heirloom

    def _has_heir(self) -> bool:
        """Return whether the next in the queue is sure to run soon: a thread, or a task of ours.

        Another event loop may be busy, or may have been stopped for good.
        """
        try:
            waiter = self._queue[0]
        except IndexError:
            return False
        return isinstance(waiter, ThreadWaiter) or in_loop_of(cast("TaskWaiter", waiter).task)

    def _check(self) -> Check:
        return self._look_for_orphans

    def _look_for_orphans(self, _waiter: Waiter, _now: float) -> None:
        """Open the gate if the loop of who has passed is gone, and the lease over if it has one.

        A backend that never waits can be told here and now that it is. Elsewhere a token that has
        asked, and may have been granted the lock since, has it for its ttl at the most.
        """
        ticket, lease, is_orphan, holder = self.ticket, self.lease, self.is_orphan, self.holder
        left_over = lease, self.heirloom, self.pursuit
        if self.ticket != ticket:
            return  # that is not all of one holder
        if ticket is None or holder is None or isinstance(holder, threading.Thread):
            return
        if lease is None:
            if not has_ended(cast("Task", holder)):
                return
        elif is_orphan is None or not is_orphan():
            return
        waits = getattr(self.backend, "blocking", True)
        if lease is not None and not lease.lost.is_set():
            if waits:
                return
            lease.lost.end("the event loop of its holder is gone")
        for known in left_over:
            if known is None or waits:
                continue
            try:
                self.backend.release(known.name, known.token)
            except BackoffLockError as error:
                logger.warning("lock %r: %s", known.name, error)
        if self.leave(ticket):
            self.forsaken.append(holder)

    def _refuse_to_stall(self, stacklevel: int) -> None:
        """Leave it to the face, which has said so already."""

    def _at_fork_reinit(self) -> None:
        if self.lease is not None:
            self.lease.lost.end_in_child()
        self.ticket = self.holder = self.lease = self.is_orphan = self.heirloom = None
        self.pursuit = self.last_failure = None
        super()._at_fork_reinit()


_gates: WeakValueDictionary[tuple[int, str], Gate] = WeakValueDictionary()
_mutex = threading.RLock()  # a finalizer may come in between and make or leave a lock


def gate_of(backend: Any, name: str) -> Gate:
    """Return the gate of a name at a backend, the same one for all that ask."""
    with _mutex:
        gate = _gates.get((id(backend), name))
        if gate is None:
            gate = _gates[id(backend), name] = Gate(name, backend)
        return gate


def _after_fork() -> None:
    _mutex._at_fork_reinit()  # type: ignore[attr-defined]
    for gate in list(_gates.values()):
        gate._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
