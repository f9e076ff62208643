"""The three calls of the PostgreSQL backend, as steps, and the sessions that they use.

Each token has a `SessionLock`, and one call at a time has the turn to use it. A session that is
certain to have no lock is kept for the next token, if few are.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakSet

import psycopg

from .._key import KEY
from ..errors import BackendRefused, BackendUnavailable
from ..leases import Busy, Grant
from ._libpq import Session, SessionOver
from ._libpq_errors import is_final, reason_of
from ._libpq_settings import shown
from ._session_lock import BLOCK, LONGEST, SessionLock
from ._steps import SLICE, Patience, Steps, Unanswered, Wanted
from ._tokens import Recent

__all__ = ["Calls"]

T = TypeVar("T")

OLDEST = 140000
"""The first version with ``idle_session_timeout``."""

GRACE = 0.2
"""Seconds that a release gives to a request under way for the same token."""

RELEASED = "the token was released meanwhile"
ANOTHER = "another request for the token is still under way"


class Calls:
    """The calls of one backend. Any thread may use them."""

    def __init__(self, parameters: dict[str, Any], request_timeout: float, max_idle: int) -> None:
        self._parameters = parameters
        self._request_timeout = request_timeout
        self._max_idle = max_idle
        self._wanted = Wanted()
        """All of it, until it is closed."""
        self._begin()
        _all_calls.add(self)

    def _begin(self) -> None:
        self._mutex = threading.RLock()  # a finalizer or signal handler may come in between
        self._locks: dict[tuple[str, str], SessionLock] = {}
        self._released = Recent()
        self._doubtful: dict[tuple[str, str], SessionLock] = {}
        self._idle: list[Session] = []

    # -- the three calls ---------------------------------------------------------------------------

    def try_acquire(self, name: str, token: str, ttl: float) -> Steps[Grant | Busy]:
        """Give the lock to `token` unless another has it."""
        with self._mutex:
            if self._doubtful:
                self._forget_what_is_over()
            if self._is_closed or (name, token) in self._released:
                reason = "it was closed" if self._is_closed else RELEASED
                raise BackendRefused(str(self), "try_acquire", reason)
            lock = self._locks.get((name, token))
            if lock is None:
                lock = SessionLock(name, token, self._session)
                self._locks[name, token] = lock
        patience = self._patience(lock)
        taking = self._taking(lock, ttl, patience)
        return (yield from self._in_turn(lock, "try_acquire", taking, patience))

    def _taking(self, lock: SessionLock, ttl: float, patience: Patience) -> Steps[Grant | Busy]:
        try:
            fence = yield from lock.take(ttl, patience)
        except SessionOver as over:
            lock.drop(over)
            if over.is_doubtful:
                raise
            # It had ended before, as one that was idle for long may have.
            fence = yield from lock.take(ttl, patience)
        if lock.is_over:
            raise Unanswered(RELEASED)
        if fence is None:
            return Busy()
        return Grant(fence, min(ttl, LONGEST / 1000), fence + BLOCK - 1)

    def renew(self, name: str, token: str, ttl: float) -> Steps[bool]:
        """Prolong the grant of `token`; return whether it still had it."""
        lock = self._locks.get((name, token))
        if lock is None or lock.is_over:
            return False
        patience = self._patience(lock)
        keeping = self._keeping(lock, ttl, patience)
        return (yield from self._in_turn(lock, "renew", keeping, patience))

    def _keeping(self, lock: SessionLock, ttl: float, patience: Patience) -> Steps[bool]:
        try:
            return (yield from lock.keep(ttl, patience))
        except SessionOver as over:
            # Whatever the server knows of that: nobody will ever renew it again.
            lock.drop(over)
            return False

    def release(self, name: str, token: str) -> Steps[bool]:
        """Take the lock from `token`, for good; return whether it had it."""
        key = name, token
        with self._mutex:
            self._released.add(key)
            lock = self._locks.get(key)
            if lock is None:
                return False
            lock.is_over = True
            now = monotonic()
            lock.forget_at = now + 2 * self._request_timeout + lock.ttl
            self._doubtful[key] = lock
        patience = Patience(now + self._request_timeout, self._wanted)
        grace = Patience(min(now + GRACE, patience.until), self._wanted)
        giving_back = self._giving_back(key, lock, patience, grace)
        return (yield from self._in_turn(lock, "release", giving_back, grace))

    def _giving_back(
        self, key: tuple[str, str], lock: SessionLock, patience: Patience, grace: Patience
    ) -> Steps[bool]:
        was_held = yield from lock.give_back(patience, grace)
        with self._mutex:
            self._doubtful.pop(key, None)
            self._locks.pop(key, None)
        return was_held

    # -- turns and connections ---------------------------------------------------------------------

    def _patience(self, lock: SessionLock) -> Patience:
        """Return how long a call waits that a release, or the end, makes useless."""
        return Patience(monotonic() + self._request_timeout, lock)

    def _in_turn(self, lock: SessionLock, call: str, act: Steps[T], patience: Patience) -> Steps[T]:
        """Do it while no other call uses the session of the token, and leave the lock in order.

        Translates what it raises.
        """
        has_turn = False
        try:
            while not has_turn:
                try:
                    del lock.turn.key[0]
                    has_turn = True
                except IndexError:
                    yield from self._wait_for_turn(lock, call, patience)
            if lock.is_over and call != "release":
                raise Unanswered(RELEASED)
            return (yield from act)
        except (Unanswered, SessionOver, psycopg.Error) as error:
            if has_turn and isinstance(error, SessionOver) and call != "release":
                lock.drop(error)
            raise self._translated(call, error) from error
        finally:
            try:
                act.close()
                if has_turn and call == "release" and (session := lock.part()) is not None:
                    self._put_away(session)
                if has_turn and self._is_closed:
                    lock.drop()
            finally:
                if has_turn:
                    lock.turn.key.append(KEY)

    def _wait_for_turn(self, lock: SessionLock, call: str, patience: Patience) -> Steps[None]:
        """Wait until nobody has the turn. A release ends what is under way if that takes long."""
        try:
            yield from patience.wait(lock.turn)
        except Unanswered:
            if call != "release":
                raise Unanswered(ANOTHER) from None
            lock.is_unwanted = True
            latest = Patience(monotonic() + self._request_timeout, Wanted())
            try:
                yield from latest.wait(lock.turn)
            except Unanswered:
                raise Unanswered(ANOTHER) from None

    @property
    def _is_closed(self) -> bool:
        return self._wanted.is_unwanted

    def _session(self, patience: Patience) -> Steps[Session]:
        """Return a session that was idle, or a new one."""
        while self._idle:
            try:
                session = self._idle.pop()
            except IndexError:
                break  # another thread took it
            if session.is_alive():
                return session
            session.close()
        opened: Session = yield partial(self._new_session, patience)
        return opened

    def _new_session(self, patience: Patience) -> Session:
        session = Session.open(self._parameters, patience)
        try:
            if session.server_version < OLDEST:
                raise psycopg.errors.FeatureNotSupported("it is older than PostgreSQL 14")
            if self._is_closed:
                raise Unanswered("it was closed")
        except BaseException:
            session.close()
            raise
        return session

    def _put_away(self, session: Session) -> None:
        with self._mutex:
            if len(self._idle) < self._max_idle and not self._is_closed:
                self._idle.append(session)
                return
        session.close()

    def _forget_what_is_over(self) -> None:
        """Forget tokens whose release was not answered, once nothing can be left of them."""
        for key, lock in list(self._doubtful.items()):
            if lock.forget_at < monotonic():
                self._doubtful.pop(key, None)
                self._locks.pop(key, None)

    def _translated(self, call: str, error: Exception) -> BackendUnavailable | BackendRefused:
        reason = reason_of(error) or f"no answer within {self._request_timeout:.3g} s"
        if isinstance(error, psycopg.Error) and is_final(error, reason):
            return BackendRefused(str(self), call, reason)
        return BackendUnavailable(str(self), call, reason)

    # -- the end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """End all connections, which frees all locks. It may be called more than once."""
        with self._mutex:
            self._wanted.is_unwanted = True
            locks, idle = list(self._locks.values()), self._idle
            self._locks, self._doubtful, self._idle = {}, {}, []
        for lock in locks:
            lock.is_over = lock.is_unwanted = True
        for session in idle:
            session.close()
        latest = monotonic() + 2 * SLICE
        for lock in locks:
            # What is under way elsewhere ends by itself, and then its session does.
            while monotonic() < latest and not lock.turn.wait(SLICE):
                pass
            try:
                del lock.turn.key[0]
            except IndexError:
                continue
            lock.drop()
            lock.turn.key.append(KEY)

    def __str__(self) -> str:
        return shown(self._parameters)


_all_calls: WeakSet[Calls] = WeakSet()


def _after_fork() -> None:
    for calls in list(_all_calls):
        calls._begin()  # its sessions have been disowned, see _libpq.py


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
