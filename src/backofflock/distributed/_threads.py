"""`ThreadDistributedLock`: the face for threads."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable
from functools import partial
from os import urandom
from types import TracebackType
from typing import cast

from .._checks import Duration
from .._contention import Limits
from .._hosts import Task, in_event_loop, in_loop_of, task_name
from .._observers import observer
from ..leases import Backend, Lease, clock
from ._base import (
    CLEANUP,
    DEFAULT,
    RELEASED,
    Default,
    DistributedFace,
    at_gate,
    goes_first,
)
from ._calls import is_async
from ._driver import drive_in_thread, give_back_in_thread
from ._keepers import ThreadKeeper
from ._policy import Pursuit

__all__ = ["ThreadDistributedLock"]


class _Holding:
    """What belongs to one lease while it is held."""

    __slots__ = ("held", "in_body", "keeper", "lease", "ticket")

    def __init__(self, lease: Lease, keeper: ThreadKeeper, in_body: bool, ticket: str) -> None:
        self.lease = lease
        self.keeper = keeper
        self.ticket = ticket
        self.in_body = in_body
        self.held = deque((None,))
        """Emptied by the one that is to release it: of two threads at once, one."""


class ThreadDistributedLock(DistributedFace):
    """A lock that threads of many processes and machines share, kept by a backend.

    ``with`` gives a `Lease`: the lock, for as long as it is renewed, which a thread in the
    background does.

    >>> import tempfile
    >>> from pathlib import Path
    >>> lock = ThreadDistributedLock("nightly report", Path(tempfile.mkdtemp()).as_uri())
    >>> with lock as lease:
    ...     lease.ensure_held()  # before each step that must not happen twice
    ...     lease.name, lease.fence > 0
    ('nightly report', True)

    The arguments, and what is promised and what not, are those of `DistributedLock`, with these
    differences. Nobody can end the work of a thread: ask ``lease.ensure_held()`` before each step
    that matters, or wait for ``lease.lost``, an event; `LeaseLost` is raised at the end of the
    ``with`` block. How long a request may take is up to the backend's client, which `connect` sets
    to 5 s; `request_timeout` cannot cut it short.
    """

    _holding: _Holding | None = None

    def _refuse_unfit(self, backend: object) -> None:
        if is_async(backend):
            raise TypeError(
                f"backend must have plain functions for threads, not coroutines as {backend!r} has"
            )

    def __enter__(self) -> Lease:
        return self._take(self._default_limits, in_body=True).lease

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        holding = self._holding
        if holding is None or not holding.in_body:  # in a forked child that has had its own since
            raise self._unheld()
        if self._release(holding) or goes_first(exc_value):
            return
        raise holding.lease.loss() from exc_value or holding.lease.lost.failure

    def acquire(
        self,
        *,
        timeout: Duration | Default | None = DEFAULT,
        max_attempts: int | Default | None = DEFAULT,
    ) -> Lease:
        """Wait for the lock, and return the lease.

        `timeout` (seconds or a timedelta) and `max_attempts` stand in for the constructor's; a
        timeout of 0 is one try, or none while this process, after a second of holding it again and
        again, leaves it to others. Raises `AcquireTimeout` at a limit, `BackendRefused` where
        asking again is of no use, and RuntimeError if this thread has the lock already.
        Interrupted here, nothing is held.
        """
        return self._take(self._limits(timeout, max_attempts), in_body=False).lease

    def release(self) -> None:
        """Release the lock; any thread of this process may.

        Raises `LeaseLost` if the lease had ended, and RuntimeError if the lock is not held here. If
        the backend does not answer, the lock stays taken until the lease ends; the log says so.
        """
        holding = self._holding
        if holding is None or holding.in_body:
            raise self._unheld()
        if not self._release(holding):
            raise holding.lease.loss() from holding.lease.lost.failure

    def _take(self, limits: Limits, in_body: bool) -> _Holding:
        since = clock()
        me = threading.current_thread()
        gate, ticket = self._gate, urandom(16).hex()
        if gate.holder is me:
            raise self._reentered(me.name)
        self._refuse_to_stall(stacklevel=4)
        waits = gate.locked()
        pursuit: Pursuit | None = None
        try:
            if not gate._contention.try_take(None, None, 0.0):
                gate._acquire_in_thread(at_gate(limits), observer(self._on_wait))
            gate.ticket = ticket
            pursuit = self._pursuit(me, me.name, ticket, limits, since)
            return self._pursue(pursuit, waits, in_body)
        except BaseException as error:
            try:
                self._quit(ticket)
            except BaseException:  # interrupted in the middle of it
                self._quit(ticket)
                raise
            self._count_failure(error, me.name, since, pursuit)
            raise

    def _pursue(self, pursuit: Pursuit, waited: bool, in_body: bool) -> _Holding:
        """Get a lease, or see that nothing is held."""
        backend = cast("Backend", self._backend)
        ticket = pursuit.token
        lease: Lease | None = None
        keeper: ThreadKeeper | None = None
        try:
            lease = self._inherit(pursuit) or self._ask(pursuit, backend)
            keeper = ThreadKeeper(lease, self._keeping_begins_in(lease), self._renew)
            self._count(pursuit, lease, waited)
            holding = self._holding = _Holding(lease, keeper, in_body, ticket)
            return holding
        except BaseException:
            self._holding = None
            self._call_off(pursuit, lease, keeper)
            give_back_in_thread(backend, self._name, pursuit.token, CLEANUP)
            raise

    def _ask(self, pursuit: Pursuit, backend: Backend) -> Lease:
        """Get a lease from the backend."""
        gate, heirloom = self._gate, self._gate.heirloom
        if heirloom is not None:  # it is no use
            within = pursuit.within(clock())
            answer = give_back_in_thread(backend, self._name, heirloom.token, within)
            gate.heirloom = None
            self._note_answer(heirloom, *answer)
        steps, token = pursuit.steps(), pursuit.token
        lease: Lease = drive_in_thread(steps, next(steps), backend, self._name, token, self._ttl)
        return lease

    def _renew(self, lease: Lease, sleep: Callable[[float], bool]) -> str:
        """Keep a lease until it is lost, and return why, or until `sleep` returns True."""
        steps, backend = self._keeping(lease), cast("Backend", self._backend)
        reason: str = drive_in_thread(
            steps, next(steps), backend, self._name, lease.token, self._ttl, sleep
        )
        return reason

    def _release(self, holding: _Holding) -> bool:
        """Give everything back; return whether the lease was held to the end."""
        lease, keeper, gate, ticket = holding.lease, holding.keeper, self._gate, holding.ticket
        if gate.ticket != ticket:
            return False  # this is a forked child
        give_back = partial(
            give_back_in_thread, cast("Backend", self._backend), self._name, lease.token
        )
        try:
            del holding.held[0]  # no call: no signal comes between it and what follows, see _key.py
        except IndexError:
            return False  # another thread was quicker
        try:
            self._holding = None
            keeper.stop()
            was_held = lease.lost.end(RELEASED) and lease.lost.was_in_time
            if was_held and self._may_change_hands(lease) and gate.bequeath(ticket, lease):
                self._tell_hold(lease, "released")
                return True
            had_it, unanswered = give_back(self._request_timeout if was_held else CLEANUP)
            return self._settle(lease, was_held, had_it, unanswered)
        except BaseException:
            keeper.stop()
            if gate.ticket == ticket:  # else it is the next one's
                give_back(CLEANUP)
            raise
        finally:
            try:
                self._quit(ticket)
            except BaseException:
                self._quit(ticket)
                raise

    def _quit(self, ticket: str) -> None:
        """Leave the gate if it was passed, and no lease there that nobody comes for."""
        gate = self._gate
        heirloom = gate.reclaim(ticket)
        if heirloom is not None:
            backend = cast("Backend", self._backend)
            answer = give_back_in_thread(backend, self._name, heirloom.token, CLEANUP)
            self._note_answer(heirloom, *answer)
        gate.leave(ticket)

    def _refuse_to_stall(self, stacklevel: int) -> None:
        """Raise or warn if this thread runs an event loop, which would stand still."""
        if not in_event_loop():
            return
        holder = self._gate.holder
        if holder is not None and not isinstance(holder, threading.Thread):
            task = cast("Task", holder)
            if in_loop_of(task):
                raise RuntimeError(
                    f"deadlock: lock {self._name!r} is held by {task_name(task)}, a task of the "
                    "event loop that this call would block; use DistributedLock in tasks"
                )
        warnings.warn(
            f"acquiring lock {self._name!r} blocks the event loop of this thread; use "
            "DistributedLock in tasks",
            RuntimeWarning,
            stacklevel=stacklevel,
        )
