"""The gate: of all that want a lock in one process, one asks the backend; the others queue here.

There is one gate for a backend and a name, whichever lock objects, loops and threads ask for it. It
is held from before the first request until after the release, so at most one token of this process
is under way.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from .._key import KEY
from ..errors import BackoffLockError
from ..leases import Lease, clock
from ..threads import ThreadBackoffLock
from ._turns import Turns

if TYPE_CHECKING:
    from .._contention import Check
    from .._waiter import Waiter

__all__ = ["Gate", "gate_of"]

logger = logging.getLogger("backofflock")


class Gate(ThreadBackoffLock):
    """First come, first served, for the tasks and threads of this process."""

    __slots__ = (
        "_turns",
        "backend",
        "forsaken",
        "holder",
        "is_orphan",
        "lease",
        "token",
    )

    def __init__(self, name: str, backend: Any) -> None:
        super().__init__(fair_after=0.0, name=name)
        self._contention.face = None  # listeners are told of the leases
        self.backend = backend  # kept alive, so that its id stays its own
        self.token: str | None = None
        """Token of the one that has passed and not left."""
        self.holder: object = None
        """Its task or thread."""
        self.lease: Lease | None = None
        """What it holds, once it does."""
        self.is_orphan: Callable[[], bool] | None = None
        """Tells whether the event loop of the holder is gone, and nobody left to release."""
        self.forsaken: list[object] = []
        """Tasks that lost the gate that way; kept, so that their coroutines are not closed, and do
        not come to the ends of their bodies, while others use the lock."""
        self._turns = Turns()

    def passed(self, holder: object) -> float:
        """Note who has passed; return the seconds to leave the lock to other processes first."""
        self.holder = holder
        return self._turns.ceded(clock())

    def granted(self, lease: Lease, waited: bool) -> None:
        """Note what the holder got; a wait for another process was no part of the turn."""
        self.lease = lease
        if waited:
            self._turns.has_waited(clock())

    def met_others(self) -> None:
        """Note that another process has the lock."""
        self._turns.met_others(clock())

    def leave(self, token: str) -> bool:
        """Let the next one pass; once, and only for the token that has passed."""
        with _mutex:
            if self.token != token:
                return False
            turns, now = self._turns, clock()
            # No call from here to the end of the append: so no signal comes in between.
            self.token = self.holder = self.lease = self.is_orphan = None
            turns.left, self._owner = now, None
            self._key.append(KEY)
        if self._queue:
            self._contention.wake_next()
        return True

    def _check(self) -> Check:
        return self._look_for_orphans

    def _look_for_orphans(self, _waiter: Waiter, _now: float) -> None:
        """Open the gate if its holder's loop is gone and its lease over.

        A backend that never waits can be told here and now that the lease is.
        """
        token, lease, is_orphan, holder = self.token, self.lease, self.is_orphan, self.holder
        if token is None or lease is None or is_orphan is None or not is_orphan():
            return
        if not lease.lost.is_set():
            if getattr(self.backend, "blocking", True):
                return
            lease.lost.end("the event loop of its holder is gone")
            try:
                self.backend.release(lease.name, token)
            except BackoffLockError as error:
                logger.warning("lock %r: %s", lease.name, error)
        if self.leave(token):
            self.forsaken.append(holder)

    def _refuse_to_stall(self, stacklevel: int) -> None:
        """Leave it to the face, which has said so already."""

    def _at_fork_reinit(self) -> None:
        if self.lease is not None:
            self.lease.lost.end_in_child()
        self.token = self.holder = self.lease = self.is_orphan = None
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
