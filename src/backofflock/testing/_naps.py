"""For tests of programs that use the locks: naps that take no time, and a record of all tries."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ContextDecorator, contextmanager
from functools import wraps
from types import TracebackType
from typing import Any, TypeVar, cast

from .._contention import Observer
from .._naps import NAPS
from ..records import WaitDetails

__all__ = ["RecordedAttempts", "no_backoff", "record_attempts"]

F = TypeVar("F", bound=Callable[..., Any])

_mutex = threading.Lock()


def no_backoff() -> _NoBackoff:
    """Return a context manager, and decorator, in which every nap of every lock is one of 0 s.

    For tests that shall not sleep: it holds for all locks of the process, those of a process and
    distributed ones, in threads and tasks, whatever their schedules and their backends' hints say.
    A waiter still lets the others run before it tries again; time limits are those of the clock,
    and `max_attempts`, and schedules that end, end a wait as ever. `on_wait`, the log and
    `record_attempts` are told the delay that would have been slept. It may be nested.

    Not skipped: naps that have begun before, the intervals between renewals of a lease, and those
    between the tries to release one at a backend that does not answer. A waiter that tries again
    and again until its `timeout` keeps a core busy: give locks in tests `max_attempts` instead.

    >>> from backofflock import AcquireTimeout, BackoffLock, Exponential
    >>> import asyncio
    >>> lock = BackoffLock(Exponential(30.0, cap=3600.0), max_attempts=5, name="orders")
    >>> @no_backoff()
    ... async def main():
    ...     async with lock:
    ...         await asyncio.create_task(lock.acquire())
    >>> try:
    ...     asyncio.run(main())
    ... except AcquireTimeout as error:
    ...     error.attempts, error.waited < 30.0
    (5, True)
    """
    return _NoBackoff()


class _NoBackoff(ContextDecorator):
    def __enter__(self) -> None:
        with _mutex:
            NAPS.skipping += 1

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with _mutex:
            NAPS.skipping -= 1

    def __call__(self, function: F) -> F:
        if not inspect.iscoroutinefunction(function):
            return super().__call__(function)

        @wraps(function)
        async def skipping(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        return cast("F", skipping)


class RecordedAttempts:
    """The failed tries of a process while `record_attempts` was on, oldest first.

    Iterate over it for a `WaitDetails` of each. A lock is meant by its name, a waiter by that of
    its task or thread; None is any.
    """

    def __init__(self) -> None:
        self._attempts: list[WaitDetails] = []
        self._waits: list[list[WaitDetails]] = []

    def __iter__(self) -> Iterator[WaitDetails]:
        return iter(tuple(self._attempts))

    def __len__(self) -> int:
        return len(self._attempts)

    def __repr__(self) -> str:
        return f"<{len(self)} attempts recorded: {[str(details) for details in self]}>"

    def delays(self, lock: str | None = None, waiter: str | None = None) -> list[float]:
        """Return the seconds to nap after each failed try, `no_backoff` or not."""
        return [details.delay for details in self if _is_meant(details, lock, waiter)]

    def waits(self, lock: str | None = None, waiter: str | None = None) -> list[list[WaitDetails]]:
        """Return the failed tries of each wait, in the order of their first ones.

        A distributed lock may have a waiter wait twice: for others of its process, and then for
        other processes.
        """
        return [list(wait) for wait in tuple(self._waits) if _is_meant(wait[0], lock, waiter)]

    def _begin(self) -> Observer:
        wait: list[WaitDetails] = []

        def note(details: WaitDetails) -> None:
            wait.append(details)
            self._attempts.append(details)
            if len(wait) == 1:
                self._waits.append(wait)

        return note


def _is_meant(details: WaitDetails, lock: str | None, waiter: str | None) -> bool:
    return lock in (None, details.lock) and waiter in (None, details.waiter)


@contextmanager
def record_attempts() -> Generator[RecordedAttempts]:
    """Record each failed try of every lock of the process; `RecordedAttempts` has what is found.

    A wait that has begun before is not recorded, one that begins here is to its end. As with
    `on_wait`, a task that is watched makes its own tries, also where it would leave them to the
    first waiter of its event loop.

    >>> from backofflock import Linear, ThreadBackoffLock
    >>> orders = ThreadBackoffLock(Linear(60.0), max_attempts=4, name="orders")
    >>> with record_attempts() as recorded, no_backoff(), orders:
    ...     orders.acquire()
    False
    >>> recorded.delays("orders")
    [0.0, 60.0, 120.0]
    >>> [(details.waiter, details.attempt) for details in recorded]
    [('MainThread', 1), ('MainThread', 2), ('MainThread', 3)]
    """
    recorded = RecordedAttempts()
    begin = recorded._begin
    with _mutex:
        NAPS.observers = (*NAPS.observers, begin)
    try:
        yield recorded
    finally:
        with _mutex:
            NAPS.observers = tuple(each for each in NAPS.observers if each is not begin)
