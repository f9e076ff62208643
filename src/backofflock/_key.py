"""The key: the one atomic operation that exclusion rests on.

A lock's key is a `collections.deque` of at most one element. While the element is there the lock is
free. Taking it is ``del key[0]``, which raises `IndexError` where there is none; putting it back is
``key.append(KEY)``. Both are atomic, under the GIL and in free-threaded builds, and the ``maxlen``
of 1 makes a doubled key impossible.

It is ``del key[0]`` and not ``key.pop()`` because CPython looks for signals after calls, not after
a deletion: no `KeyboardInterrupt` comes between taking the key and noting who has it.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from typing import Protocol, runtime_checkable

__all__ = ["KEY", "ForeignKey", "ForeignLock", "Key", "new_key", "reinit_after_fork"]

KEY = None
"""The element of a key; its presence is all that counts."""


class Key(Protocol):
    """What the locks need of a key; a deque has it. It is true if it may be there."""

    def __delitem__(self, index: int, /) -> None:
        """Take the key, or raise IndexError."""

    def append(self, element: None, /) -> None:
        """Put the key back."""

    def __len__(self) -> int:
        """Return 1 while the key is there, 0 while it is taken."""
        ...


@runtime_checkable
class ForeignLock(Protocol):
    """What ``over=`` takes: `threading.Lock`, `multiprocessing.Lock` or a `ThreadBackoffLock`."""

    def acquire(self, blocking: bool, /) -> bool:
        """Take the lock at once and return True, or return False."""
        ...

    def release(self) -> None:
        """Give the lock back; any thread or task of this process may."""


def new_key() -> deque[None]:
    """Return a key that is there."""
    return deque((KEY,), maxlen=1)


def reinit_after_fork(key: Key) -> None:
    """Put a key back in a forked child, whoever had it in the parent."""
    reinit: Callable[[], None] | None = getattr(key, "reinit_after_fork", None)
    if reinit is None:
        key.append(KEY)
    else:
        reinit()


class ForeignKey:
    """A key kept in somebody else's lock, which others may take and release without telling us."""

    __slots__ = ("_lock", "_locked")

    def __init__(self, lock: ForeignLock) -> None:
        _refuse_unfit(lock)
        self._lock = lock
        self._locked: Callable[[], bool] | None = getattr(lock, "locked", None)

    def __delitem__(self, index: int, /) -> None:
        if not self._lock.acquire(False):
            raise IndexError("the foreign lock is taken")

    def append(self, element: None, /) -> None:
        """Release the foreign lock."""
        self._lock.release()

    def __bool__(self) -> bool:
        """Return False if the lock is taken; True if it may be free, having no ``locked()``."""
        return self._locked is None or not self._locked()

    def __len__(self) -> int:
        """Return 1 if the lock is free: by its ``locked()``, or by taking it for a moment."""
        if self._locked is not None:
            return 0 if self._locked() else 1
        if not self._lock.acquire(False):
            return 0
        self._lock.release()
        return 1

    def reinit_after_fork(self) -> None:
        """Free the lock in a forked child, if it knows how."""
        reinit = getattr(self._lock, "_at_fork_reinit", None)
        if reinit is not None:
            reinit()


def _refuse_unfit(lock: object) -> None:
    """Raise TypeError unless `lock` can be tried and excludes; tries it twice if it is free."""
    wanted = (
        "over must be a lock with acquire(False) -> bool and release(), such as threading.Lock() "
        f"or multiprocessing.Lock(), not {lock!r}"
    )
    if not isinstance(lock, ForeignLock) or isinstance(lock, type):
        raise TypeError(wanted)
    if inspect.iscoroutinefunction(lock.acquire):
        raise TypeError(f"{wanted}: its acquire() is a coroutine and only serves one event loop")
    taken: object = lock.acquire(False)
    if not isinstance(taken, bool):
        raise TypeError(f"{wanted}: its acquire(False) returned {taken!r}")
    if not taken:
        return  # held by somebody: it excludes, and is not ours to examine
    again: object = lock.acquire(False)
    if again:
        lock.release()
    lock.release()
    if again:
        raise TypeError(
            f"{wanted}: it can be acquired twice in a row, so it would not keep two tasks of one "
            "thread apart"
        )
