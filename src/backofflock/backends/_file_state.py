"""What the file backend has in one process, and what a fork does with it.

Python forks while no thread is in the middle of a call. The child closes what its parent has open,
without unlocking it, and begins anew; one that was forked past Python does so with its first call.
"""

from __future__ import annotations

import os
import threading
from os import getpid
from weakref import WeakValueDictionary

from ._flock import LockFile

__all__ = ["BURIED", "OPEN", "InEachProcess", "State"]

BURIED = 1024
"""How many released tokens are remembered: what is released twice, or while it is still asked for,
was given up a moment ago."""

OPEN = 32
"""How many files stay open while nobody has their locks; of the rest, the latest used."""


class State:
    """What a backend has in one process. A forked child has none of it, and begins anew."""

    __slots__ = ("buried", "files", "mutex", "pid", "unused")

    def __init__(self) -> None:
        self.pid = getpid()
        # Reentrant: finalizers and signal handlers may release, or fork, in the middle of a call.
        # For them, each file has one owner at a time: whoever took it out of a dictionary.
        self.mutex = threading.RLock()
        self.files: dict[str, LockFile] = {}
        """Those that are held, or asked for by a call under way."""
        self.unused: dict[str, LockFile] = {}
        """Those that are open and not locked, the latest used last."""
        self.buried: dict[str, None] = {}

    def bury(self, token: str) -> None:
        """Remember that a token was released."""
        self.buried[token] = None
        if len(self.buried) > BURIED:
            self.buried.pop(next(iter(self.buried)), None)

    def keep(self, name: str, file: LockFile) -> None:
        """Leave a file open that is not locked, for the next who asks."""
        if self.unused.setdefault(name, file) is not file:
            file.close()
        while len(self.unused) > OPEN:
            oldest = self.unused.pop(next(iter(self.unused)), None)
            if oldest is not None:
                oldest.close()

    def drop(self, file: LockFile) -> None:
        """Unlock and close a file, whatever is the matter with it."""
        try:
            file.let_go()
        except OSError:
            pass  # somebody closed it for us, or will not unlock it: it is closed now

    def close_unused(self) -> None:
        """Close what is open only to be quicker the next time."""
        while self.unused:
            self.drop(self.unused.popitem()[1])

    def close(self) -> None:
        """Close what the parent has open: unlocked here, it would be unlocked there."""
        for file in [*self.files.values(), *self.unused.values()]:
            try:
                file.close()
            except OSError:
                pass


class InEachProcess:
    """What has a `State` in each process: it begins anew in a forked child."""

    def __init__(self) -> None:
        self._state = State()
        with _forking:
            _backends[id(self)] = self
        _close_orphans()

    def _own_state(self) -> State:
        state = self._state
        return state if state.pid == getpid() else self._begin_anew()

    def _begin_anew(self) -> State:
        """Leave to the process that this one was forked from what it holds."""
        with _forking:
            state = self._state
            if state.pid != getpid():
                self._state = State()
                state.close()
            return self._state

    def __del__(self) -> None:
        if hasattr(self, "_state"):
            _orphans.append(self._state)
            _close_orphans()


# -- forks -----------------------------------------------------------------------------------------


_backends: WeakValueDictionary[int, InEachProcess] = WeakValueDictionary()
_forking = threading.RLock()
"""Held while a fork is under way, and to change `_backends`."""
_taken: list[threading.RLock] = []
"""The mutexes of all backends, while a fork is under way."""
_orphans: list[State] = []
"""Those of backends that are gone, until their files are closed."""


def _all_backends() -> list[InEachProcess]:
    found = (reference() for reference in _backends.valuerefs())
    return [backend for backend in found if backend is not None]


def _close_orphans() -> None:
    # Not during a fork, lest a child has what it does not know. Nor may a finalizer wait for the
    # fork, which may be waiting for the very thread that the finalizer interrupts: whoever has the
    # mutex looks again after that.
    while _orphans and _forking.acquire(blocking=False):
        try:
            while _orphans:
                _orphans.pop().close()
        finally:
            _forking.release()


def _before_fork() -> None:
    # No other thread is in the middle of a call, so the child knows all that it has to close.
    _forking.acquire()
    for backend in _all_backends():
        mutex = backend._state.mutex
        mutex.acquire()
        _taken.append(mutex)


def _after_fork_in_parent() -> None:
    while _taken:
        _taken.pop().release()
    _forking.release()
    _close_orphans()


def _after_fork_in_child() -> None:
    global _forking
    _forking = threading.RLock()
    _taken.clear()
    _close_orphans()
    for backend in _all_backends():
        backend._state.pid = 0  # in another namespace the child may have its parent's number
        backend._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
