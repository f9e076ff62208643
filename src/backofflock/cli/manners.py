"""How contenders wait for the lock of a system: each manner for threads and for tasks."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from random import Random

from backofflock import AcquireTimeout, ThreadBackoffLock, WaitDetails

from .contenders import Contender
from .systems import System

__all__ = ["Blocking", "Manner", "Stepping", "Waiting", "build"]


class Manner(ABC):
    """One turn at the lock: ask, wait, hold or give up, release."""

    @abstractmethod
    def in_thread(self, me: Contender) -> None:
        """Take a turn in a thread."""

    @abstractmethod
    async def in_task(self, me: Contender) -> None:
        """Take a turn in a task."""


class Blocking(Manner):
    """The plain mutex: a thread blocks until it is free, a task has a worker thread do so."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def in_thread(self, me: Contender) -> None:
        """Block until the lock is free."""
        me.ask()
        with self._lock:
            me.hold_in_thread()

    async def in_task(self, me: Contender) -> None:
        """Block a worker thread until the lock is free."""
        me.ask()
        blocked = asyncio.create_task(asyncio.to_thread(self._lock.acquire))
        try:
            await asyncio.shield(blocked)
        except asyncio.CancelledError:
            # Nothing can call the worker thread back: it will get the lock, for nobody.
            await blocked
            self._lock.release()
            raise
        try:
            await me.hold_in_task()
        finally:
            self._lock.release()


class Waiting(Manner):
    """``with`` in a thread, ``async with`` in a task; some schedules end in giving up."""

    def __init__(self, lock: ThreadBackoffLock) -> None:
        self._lock = lock

    def in_thread(self, me: Contender) -> None:
        """Wait by ``with``."""
        me.ask()
        try:
            with self._lock:
                me.hold_in_thread()
        except AcquireTimeout as timeout:
            me.give_up(timeout.attempts)

    async def in_task(self, me: Contender) -> None:
        """Wait by ``async with``."""
        me.ask()
        try:
            async with self._lock:
                await me.hold_in_task()
        except AcquireTimeout as timeout:
            me.give_up(timeout.attempts)


class Stepping(Manner):
    """``attempts()``: other work between two tries; threads are bounded by tries, tasks by time."""

    def __init__(self, lock: ThreadBackoffLock, tries: int, seconds: float) -> None:
        self._lock = lock
        self._tries = tries
        self._seconds = seconds

    def in_thread(self, me: Contender) -> None:
        """Try so many times."""
        me.ask()
        try:
            for attempt in self._lock.attempts(max_attempts=self._tries):
                if attempt:
                    with attempt:
                        me.hold_in_thread()
                else:
                    me.work()
        except AcquireTimeout as timeout:
            me.give_up(timeout.attempts)

    async def in_task(self, me: Contender) -> None:
        """Try for so long."""
        me.ask()
        try:
            async for attempt in self._lock.attempts(timeout=self._seconds):
                if attempt:
                    async with attempt:
                        await me.hold_in_task()
                else:
                    me.work()
        except AcquireTimeout as timeout:
            me.give_up(timeout.attempts)


def build(
    system: System, scale: float, rng: Random, on_wait: Callable[[WaitDetails], object]
) -> Manner:
    """Return a new lock of `system`, wrapped in its manner; `on_wait` is told of failed tries.

    The plain mutex tells nobody anything: it knows no tries.
    """
    if system.schedule is None:
        return Blocking(threading.Lock())
    schedule = system.schedule(scale)
    if system.textbook:
        lock = ThreadBackoffLock(
            schedule,
            name=system.name,
            rng=rng,
            on_wait=on_wait,
            fair_after=None,
            wake_on_release=False,
        )
    else:
        lock = ThreadBackoffLock(schedule, name=system.name, rng=rng, on_wait=on_wait)
    if system.limits is None:
        return Waiting(lock)
    return Stepping(lock, system.limits.tries, system.limits.seconds * scale)
