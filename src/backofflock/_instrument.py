"""Listeners: who is told of all waits and holds of this process, and how the locks tell them.

While nobody listens nothing of this is there: locks reach their keys through the slots `Face._key`
and `Contention.key`, and waiters find that `Contention.tell` is None. As long as somebody does, two
properties stand in place of the slots, for all locks, old and new. They give each key out inside of
a `_ToldKey`, which notes the time when it is taken and tells of the hold once it is back.

A hold is told if it began and ended while somebody listened.
"""

from __future__ import annotations

import inspect
import logging
import os
import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

from ._contention import Contention
from ._face import Face
from ._key import Key, reinit_after_fork
from ._waiter import NEVER, Waiter
from .errors import AcquireTimeout
from .events import LockEvent, Outcome

__all__ = ["Instrumentation", "Listener", "instrument", "tell_hold", "tell_wait"]

logger = logging.getLogger("backofflock")

Listener = Callable[[LockEvent], object]

_telling = threading.local()

_FACE_SLOT: Any = vars(Face)["_key"]
_MACHINE_SLOT: Any = vars(Contention)["key"]


class Instrumentation:
    """A registered listener: `close` takes it back, as does the end of a ``with`` block."""

    __slots__ = ("listener",)

    def __init__(self, listener: Listener) -> None:
        self.listener: Listener = listener

    def close(self) -> None:
        """Tell the listener no more; more than once is no error.

        A thread that is telling it meanwhile may still do so.
        """
        global _audience
        with _mutex:
            others = tuple(each for each in _audience.members if each is not self)
            if others:
                _audience = _Audience(_audience.since, others)
            else:
                _audience = _NOBODY
                _stop_telling()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Instrumentation of {self.listener!r}>"


class _Audience(NamedTuple):
    """All who listen, and since when somebody has."""

    since: float
    members: tuple[Instrumentation, ...]


_NOBODY = _Audience(NEVER, ())

_audience = _NOBODY
_mutex = threading.RLock()  # a finalizer may come in between and take a listener back


def instrument(listener: Listener) -> Instrumentation:
    """Tell `listener` of all waits and holds of this process, whichever lock; return the handle.

    It is called with a `LockEvent`: for each acquisition when the lock is released, and for each
    acquire that found the lock taken when it ends, one way or the other. It runs in the thread or
    task that waited, which may hold the lock by then, or that released, so it should be quick and
    must not block. Locks that exist already are told of too. Ready-made ones for logging,
    structlog, Prometheus and OpenTelemetry are in `backofflock.instrumentation`.

    What it raises goes to the log of ``backofflock`` and harms no lock; a KeyboardInterrupt or
    another that is no Exception passes, and leaves nothing held by a waiter it strikes. Events of
    locks that a listener itself uses are not told. With no listener registered, locks run the same
    code as if there were none of this. Raises TypeError for what is no plain callable.

    Promised: events of holds that began before the first listener was registered are left out, not
    wrong. Not promised: that a KeyboardInterrupt in the first instructions of a release, which are
    more while somebody listens, finds the lock free; see `ThreadBackoffLock`.

    >>> from backofflock import ThreadBackoffLock
    >>> lock, events = ThreadBackoffLock(name="orders"), []
    >>> with instrument(events.append):
    ...     with lock:
    ...         pass
    >>> events[0].kind, events[0].lock, events[0].outcome, events[0].seconds < 60
    ('hold', 'orders', 'released', True)
    """
    global _audience
    if not callable(listener) or inspect.iscoroutinefunction(listener):
        raise TypeError(f"listener must be a plain callable of one argument, not {listener!r}")
    handle = Instrumentation(listener)
    with _mutex:
        try:
            since, others = _audience
            if not others:
                _start_telling()
                since = monotonic()
            _audience = _Audience(since, (*others, handle))
        except BaseException:
            handle.close()
            raise
    return handle


# -- for the locks ---------------------------------------------------------------------------------


def tell_wait(
    lock: str, face: str, seconds: float, attempts: int, waiter: str, error: BaseException | None
) -> None:
    """Tell of a wait that was ended by `error`, or by the lock."""
    if members := _audience.members:
        _tell(members, LockEvent("wait", lock, face, _outcome(error), seconds, attempts, waiter))


def tell_hold(lock: str, face: str, outcome: Outcome, seconds: float) -> None:
    """Tell of a hold."""
    if members := _audience.members:
        _tell(members, LockEvent("hold", lock, face, outcome, seconds))


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return "acquired"
    if isinstance(error, AcquireTimeout):
        return "timeout"
    return "error" if isinstance(error, Exception) else "cancelled"


def _tell(members: tuple[Instrumentation, ...], event: LockEvent) -> None:
    if getattr(_telling, "now", False):
        return  # of a lock that a listener uses: to tell it would never end
    _telling.now = True
    try:
        for each in members:
            try:
                each.listener(event)
            except Exception:
                logger.exception("listener %r failed at %r", each.listener, event)
    finally:
        _telling.now = False


class _ToldKey:
    """The key of a lock, for one use of it."""

    __slots__ = ("_key", "_machine")

    def __init__(self, machine: Contention) -> None:
        self._machine = machine
        self._key: Key = _MACHINE_SLOT.__get__(machine)

    def __delitem__(self, index: int, /) -> None:
        key, machine, now = self._key, self._machine, monotonic()
        del key[index]
        machine.held_since = now  # no call since the key was taken: no signal comes, see _key.py

    def append(self, element: None, /) -> None:
        """Put the key back, and tell of the hold."""
        machine, audience = self._machine, _audience
        since, now = machine.held_since, -NEVER
        machine.held_since = -NEVER
        try:
            now = monotonic()  # before others run
        finally:
            self._key.append(element)
        if machine.queue:
            machine.wake_next()  # a second wake-up does nothing; listeners may take their time
        if since >= audience.since and (face := machine.face) is not None:
            event = LockEvent("hold", machine.name or face, face, "released", now - since)
            _tell(audience.members, event)

    def __bool__(self) -> bool:
        return bool(self._key)

    def __len__(self) -> int:
        return len(self._key)

    def reinit_after_fork(self) -> None:
        """Put it back in a forked child; nobody held it there."""
        reinit_after_fork(self._key)


def _told_key(face: Face) -> _ToldKey:
    return _ToldKey(face._contention)


def _tell_of_waiter(
    machine: Contention, waiter: Waiter, seconds: float, error: BaseException | None
) -> None:
    if machine.face is not None:
        lock = machine.name or machine.face
        tell_wait(lock, machine.face, seconds, waiter.attempt, waiter.name, error)


def _start_telling() -> None:
    # Not by assignments: these names stand for something else here than everywhere else.
    setattr(Contention, "key", property(_ToldKey, _MACHINE_SLOT.__set__))  # noqa: B010
    setattr(Face, "_key", property(_told_key, _FACE_SLOT.__set__))  # noqa: B010
    setattr(Contention, "tell", _tell_of_waiter)  # noqa: B010


def _stop_telling() -> None:
    setattr(Contention, "tell", None)  # noqa: B010
    setattr(Face, "_key", _FACE_SLOT)  # noqa: B010
    setattr(Contention, "key", _MACHINE_SLOT)  # noqa: B010


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mutex._at_fork_reinit)  # type: ignore[attr-defined]
