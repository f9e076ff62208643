"""Worlds: the same verbs for contestants in threads, asyncio, trio and anyio.

A contestant is an ``async def`` of one argument, the world it runs in. In a thread nothing that it
awaits ever suspends (`ThreadWorld.sleep` blocks the thread, and so does waiting for the lock), so
one step runs it to its end. Thus each promise is written once, and everything in it is native: the
locks of a thread are entered by ``with``, tasks are made and cancelled by their own library.
"""

from __future__ import annotations

import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

import pytest

from backofflock import AcquireTimeout, Attempt, BackoffLock, ThreadBackoffLock, WouldBlock

from .subjects import Direct, Subject

T = TypeVar("T")
Contestant = Callable[["World"], Coroutine[Any, Any, T]]

Failure = (Exception, pytest.fail.Exception)
"""What a contestant may raise: the failure of a ``pytest.raises`` is no Exception."""

POLL = 0.001
"""Seconds between two looks of somebody who waits for a condition."""


class Handle(Generic[T]):
    """One contestant, from its start to its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = False
        self.cancelled = False
        self.error: BaseException | None = None
        self._result: T | None = None
        self._cancel: Callable[[], object] | None = None

    def cancel(self) -> None:
        """Cancel it as its library does; threads cannot be."""
        assert self._cancel is not None, f"{self.name} cannot be cancelled"
        self._cancel()

    @property
    def can_cancel(self) -> bool:
        """Whether it can be cancelled, and has started to exist where it runs."""
        return self._cancel is not None

    def outcome(self) -> T:
        """Return what it returned, or raise what it raised."""
        assert self.done
        if self.error is not None:
            raise self.error
        return cast("T", self._result)


class World(ABC):
    """A place where contestants run; `patience` is how long it waits for what must happen soon."""

    can_cancel = True

    def __init__(self, patience: float) -> None:
        self.patience = patience

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Let the others run for so long; 0 is one turn."""

    @abstractmethod
    def spawn(self, contestant: Contestant[T], name: str | None = None) -> Handle[T]:
        """Start a contestant, from any thread."""

    def hold(self, subject: Subject) -> AbstractAsyncContextManager[object]:
        """Return what is entered to hold the lock."""
        return subject.lock

    async def acquire(self, subject: Subject, timeout: float | None = None) -> bool:
        """Acquire by the method and not by a ``with``; False at the limit."""
        lock = subject.lock
        acquire = lock.acquire if isinstance(lock, BackoffLock) else lock.acquire_async
        try:
            return await acquire(timeout=timeout)
        except AcquireTimeout:
            return False

    def try_once(self, subject: Subject) -> bool:
        """Take the lock if it is to be had at once."""
        try:
            subject.lock.acquire_nowait()
        except WouldBlock:
            return False
        return True

    def release(self, subject: Subject) -> None:
        """Release what `acquire` or `try_once` took."""
        subject.lock.release()

    def attempts(self, subject: Subject, **limits: Any) -> AsyncIterator[Attempt]:
        """Return the iterator of the lock's ``attempts()``."""
        return subject.lock.attempts(**limits)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; AssertionError if it does not come true."""
        latest = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < latest, f"in vain for {self.patience} s: {what}"
            await self.sleep(POLL)

    async def join(self, handles: Iterable[Handle[T]]) -> list[T]:
        """Wait for the end of contestants and return their results."""
        handles = list(handles)
        for handle in handles:
            await self.until(partial(getattr, handle, "done"), f"the end of {handle.name}")
        return [handle.outcome() for handle in handles]


class _BlockingHold:
    """``with`` in the clothes of ``async with``, for threads."""

    def __init__(self, lock: Direct) -> None:
        self._lock = lock

    async def __aenter__(self) -> object:
        return self._lock.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.__exit__(exc_type, exc_value, traceback)


class _BlockingSteps:
    """``for`` in the clothes of ``async for``, for threads."""

    def __init__(self, attempts: Iterable[Attempt]) -> None:
        self._steps = iter(attempts)

    def __aiter__(self) -> _BlockingSteps:
        return self

    async def __anext__(self) -> Attempt:
        for attempt in self._steps:
            return attempt
        raise StopAsyncIteration


class ThreadWorld(World):
    """Every contestant is a thread, the one that sets them going included."""

    can_cancel = False

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - it is for threads

    def spawn(self, contestant: Contestant[T], name: str | None = None) -> Handle[T]:
        handle: Handle[T] = Handle(name or contestant.__name__)
        # A daemon, so that a faulty lock's waiter does not keep the interpreter from its end.
        threading.Thread(
            target=self._perform, args=(handle, contestant), name=handle.name, daemon=True
        ).start()
        return handle

    def _perform(self, handle: Handle[T], contestant: Contestant[T]) -> None:
        coroutine = contestant(self)
        try:
            coroutine.send(None)
        except StopIteration as stop:
            handle._result = stop.value
        except BaseException as error:
            handle.error = error
        else:
            coroutine.close()
            handle.error = AssertionError(f"{handle.name} suspended, which a thread cannot")
        finally:
            handle.done = True

    def _direct(self, subject: Subject) -> Direct:
        assert subject.direct is not None, f"no thread can use {subject.lock!r}"
        return subject.direct

    def hold(self, subject: Subject) -> AbstractAsyncContextManager[object]:
        return _BlockingHold(self._direct(subject))

    async def acquire(self, subject: Subject, timeout: float | None = None) -> bool:
        return self._direct(subject).acquire(True, -1 if timeout is None else timeout)

    def try_once(self, subject: Subject) -> bool:
        return self._direct(subject).acquire(False)

    def release(self, subject: Subject) -> None:
        self._direct(subject).release()

    def attempts(self, subject: Subject, **limits: Any) -> AsyncIterator[Attempt]:
        assert isinstance(subject.lock, ThreadBackoffLock)
        return _BlockingSteps(subject.lock.attempts(**limits))


class MixedWorld(World):
    """Contestants go to several worlds in turn; the other verbs are those of the main one's."""

    def __init__(self, home: World, worlds: Iterable[World]) -> None:
        super().__init__(home.patience)
        self._home = home
        self._next = itertools.cycle(worlds)

    async def sleep(self, seconds: float) -> None:
        await self._home.sleep(seconds)

    def spawn(self, contestant: Contestant[T], name: str | None = None) -> Handle[T]:
        return next(self._next).spawn(contestant, name)

    def hold(self, subject: Subject) -> AbstractAsyncContextManager[object]:
        return self._home.hold(subject)

    async def acquire(self, subject: Subject, timeout: float | None = None) -> bool:
        return await self._home.acquire(subject, timeout)

    def try_once(self, subject: Subject) -> bool:
        return self._home.try_once(subject)

    def release(self, subject: Subject) -> None:
        self._home.release(subject)

    def attempts(self, subject: Subject, **limits: Any) -> AsyncIterator[Attempt]:
        return self._home.attempts(subject, **limits)
