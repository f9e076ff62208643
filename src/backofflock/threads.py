"""`ThreadBackoffLock`: the face for threads, and for tasks on the same lock."""

from __future__ import annotations

import warnings
from _thread import allocate_lock
from collections.abc import Generator
from datetime import timedelta
from types import TracebackType
from typing import ClassVar

from ._attempts import ThreadAttempts
from ._checks import Duration
from ._contention import Limits, Observer
from ._face import DEFAULT, Default, Face
from ._hosts import (
    ThreadWaiter,
    give_way,
    in_event_loop,
    in_loop_of,
    task_name,
)
from ._key import KEY
from ._observers import observer
from .errors import AcquireTimeout, WouldBlock

__all__ = ["ThreadBackoffLock"]


class ThreadBackoffLock(Face):
    """A lock for threads and tasks alike, usable wherever a `threading.Lock` is.

    A thread enters it by ``with``, a task of asyncio, trio or anyio by ``async with``, which never
    blocks its event loop. Like `threading.Lock` it has no owner: any thread or task may release it.

    >>> import asyncio, threading
    >>> shared, entered = ThreadBackoffLock(), []
    >>> def in_a_thread():
    ...     with shared:
    ...         entered.append("thread")
    >>> async def in_a_task():
    ...     async with shared:
    ...         entered.append("task")
    >>> thread = threading.Thread(target=in_a_thread)
    >>> thread.start(); asyncio.run(in_a_task()); thread.join()
    >>> sorted(entered)
    ['task', 'thread']

    When to use it: for state that threads and coroutines share. When not: among threads alone that
    need no time limits `threading.Lock` does; among tasks alone `BackoffLock` also knows its owner.

    The arguments are those of `BackoffLock`. Without `fair_after` a thread may overtake threads
    that have waited for less than 30 ms, as long as no task waits; a task neither overtakes nor is
    overtaken. With it, that is the window of threads and tasks alike; 0 is first come, first
    served. Source of the 30 ms: threads that overtake cause fewer switches. With 0, 2, 4, 10, 20,
    30, 40 and 80 ms 32 threads that compute for 20 us reached 0.32, 0.30, 0.53, 0.84, 0.99, 1.11,
    1.00 and 1.15 times the throughput of `threading.Lock` (CPython 3.12 switches threads every 5
    ms), two threads with an empty section 2.2 to 3.1 times with each. With 40 and 80 ms 32 threads
    that sleep for 200 us no longer got equal shares in 2 s (Jain's index 0.94 and 0.82, with 30 ms
    0.99; all are medians of 7 rounds). To see it again: ``python -m benchmarks --only
    threads/2/empty --only threads/32/cpu --only threads/32/io --only
    'ThreadBackoffLock(fair*)' --only ThreadBackoffLock --only threading.Lock``.

    Promised: mutual exclusion; an acquire that is cancelled, times out or is interrupted leaves
    nothing held and nothing queued; ``async with`` blocks no event loop; no waiter waits for ever
    while others come and go. Not promised: order within `fair_after`; that a `KeyboardInterrupt`
    which strikes the very first instruction of a release finds the lock free, as one written in C
    would be.
    """

    __slots__ = ()

    _THREAD_WINDOW: ClassVar[float] = 0.030

    def __enter__(self) -> bool:
        if not self._queue:
            try:
                del self._key[0]
            except IndexError:
                pass
            else:
                return True
        elif self._contention.try_take(None, None, self._thread_window):
            return True
        return self._acquire_in_thread(self._default_limits)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The context manager is proof that a thread has the lock, unless its body may have released
        # it; so there is no owner to clear either.
        if self._released_by_hand:
            self.release()
            return
        self._key.append(KEY)
        if self._queue:
            self._contention.wake_next()

    def acquire(self, blocking: bool = True, timeout: Duration = -1) -> bool:
        """Take the lock and return True, or return False: the contract of `threading.Lock`.

        Without `blocking` it is one try. With it, `timeout` bounds the wait in seconds (or a
        timedelta); -1 stands for the limits of the constructor. Raises what `threading.Lock` raises
        for bad arguments, and RuntimeError where waiting would be a certain deadlock: a task of
        the very event loop that this call blocks holds the lock. Blocking any other running event
        loop emits a RuntimeWarning: use ``async with`` there.

        >>> shared = ThreadBackoffLock()
        >>> shared.acquire(), shared.acquire(blocking=False), shared.acquire(timeout=0.01)
        (True, False, False)
        >>> shared.release()
        """
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        if blocking is not True or seconds != -1:
            allocate_lock().acquire(blocking, seconds)  # raises for arguments it does not take
        if self._contention.try_take(None, None, self._thread_window):
            return True
        if not blocking or seconds == 0:
            return False
        try:
            default, tries = self._default_limits
            return self._acquire_in_thread((default if seconds == -1 else seconds, tries))
        except AcquireTimeout:
            return False

    async def acquire_async(
        self,
        *,
        timeout: Duration | Default | None = DEFAULT,
        max_attempts: int | Default | None = DEFAULT,
    ) -> bool:
        """Wait for the lock in a task and take it; return True.

        `timeout` (seconds or a timedelta) and `max_attempts` stand in for the constructor's; a
        timeout of 0 is one try. Raises `AcquireTimeout` at a limit. Cancelled here, nothing is
        held.
        """
        await self._enter(self._limits(timeout, max_attempts))
        self._released_by_hand = True  # for `__exit__`, which else clears no owner
        return True

    def acquire_nowait(self) -> None:
        """Take the lock at once, or raise `WouldBlock`: taken, or reserved for a waiter."""
        if not self._contention.try_take(None, None, self._thread_window):
            raise WouldBlock(self._contention.label, len(self._queue))

    def release(self) -> None:
        """Put the key back and wake the next waiter; any thread or task may.

        Raises RuntimeError if the lock is not held.
        """
        if len(self._key):
            raise RuntimeError(f"release unlocked lock: {self._contention.label!r} is free")
        self._released_by_hand = True
        self._give_back()

    def attempts(
        self,
        *,
        timeout: Duration | Default | None = DEFAULT,
        max_attempts: int | Default | None = DEFAULT,
    ) -> ThreadAttempts:
        """Return an iterator that tries once a step: ``for`` in threads, ``async for`` in tasks.

        Between two steps you may do other work; the waiter keeps its place meanwhile. The attempt
        that acquires is the last. Raises `AcquireTimeout` where a further try would pass a limit.
        Leaving the loop early leaves nothing queued, and nothing held that was not entered.

        >>> shared = ThreadBackoffLock()
        >>> for attempt in shared.attempts(max_attempts=3):
        ...     if attempt:
        ...         with attempt:
        ...             print("mine at attempt", attempt.number)
        mine at attempt 1
        """
        return ThreadAttempts(self, self._limits(timeout, max_attempts))

    def _acquire_in_thread(self, limits: Limits, observe: Observer | None = None) -> bool:
        self._give_way()
        self._refuse_to_stall(stacklevel=4)
        waiter = ThreadWaiter(self._thread_window)
        machine = self._contention
        policy = machine.contend(waiter, limits, observe or observer(self._on_wait))
        try:
            _nap_through(policy, waiter)
        except BaseException:
            machine.abandon(policy, waiter)
            raise
        return True

    def _give_way(self) -> None:
        """Let one that is on its way to the key have it before this thread queues up."""
        if self._key:
            give_way()

    def _refuse_to_stall(self, stacklevel: int) -> None:
        """Raise or warn if a thread that is about to wait runs an event loop."""
        if not in_event_loop():
            return
        owner = self._owner
        if owner is not None and in_loop_of(owner):
            raise RuntimeError(
                f"deadlock: lock {self._contention.label!r} is held by {task_name(owner)}, a task "
                "of the event loop that this call would block; use 'async with' in tasks"
            )
        warnings.warn(
            f"waiting for lock {self._contention.label!r} blocks the event loop of this thread; "
            "use 'async with' in tasks",
            RuntimeWarning,
            stacklevel=stacklevel,
        )

    def _is_owned(self) -> bool:
        """Return whether somebody holds the lock: how `threading.Condition` asks."""
        return self.locked()

    def _acquire_restore(self, _state: None) -> None:
        """Take the lock back after ``Condition.wait``, which must not fail: without limits."""
        if not self._contention.try_take(None, None, self._thread_window):
            self._acquire_in_thread((None, None))


def _nap_through(policy: Generator[float, None, None], waiter: ThreadWaiter) -> None:
    # A function of its own, so that a signal at the jump back meets the "try" of the caller; see
    # Contention.abandon.
    for seconds in policy:
        waiter.nap(seconds)
