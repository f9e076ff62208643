"""A play: one performance of a scenario, and what must hold during it and at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio

from backofflock import BackoffLock, ThreadBackoffLock
from backofflock._contention import Contention
from backofflock._waiter import NEVER
from tests.contract.checks import ASLEEP, Ledger
from tests.contract.subjects import Direct, Make, Subject

from .points import INSIDE
from .scheduler import Body, Stage
from .stand_ins import in_loop

__all__ = ["Play", "direct", "threads_only"]

Main = Callable[[], Coroutine[Any, Any, object]]


class Play:
    """One performance of a scenario: its locks, who is inside, and what the threads say of it."""

    def __init__(self, stage: Stage, make: Make) -> None:
        self.said: list[str] = []
        self._stage = stage
        self._make = make
        self._ledger = Ledger()
        self._subjects: list[Subject] = []
        self._machines: list[Contention] = []

    def lock(self, **options: Any) -> Subject:
        """Return a new lock whose end is looked at."""
        subject = self._make(**{"schedule": ASLEEP, "name": "the lock", **options})
        self._subjects.append(subject)
        self._machines.append(subject.lock._contention)
        return subject

    def say(self, what: str) -> None:
        """Note for the outcome how it went."""
        self.said.append(what)

    def be_inside(self, name: str) -> None:
        """Be where only one may be; a preemption may come in the middle of it."""
        with self._ledger.visit(name):
            self._stage.step(INSIDE, True)
        self.say(name)

    def visits(self, subject: Subject, name: str, times: int = 1) -> Body:
        """Return a thread that enters by ``with``."""
        lock = direct(subject)

        def body() -> None:
            for _ in range(times):
                with lock:
                    self.be_inside(name)

        return body

    async def visit(self, subject: Subject, name: str, turns: int = 0) -> None:
        """Enter by ``async with``, in a task; stay for some turns of the loop."""
        async with subject.lock:
            with self._ledger.visit(name):
                self._stage.step(INSIDE, True)
                for _ in range(turns):
                    await asyncio.sleep(0)
            if isinstance(subject.lock, BackoffLock):
                owner = subject.lock.statistics().owner
                assert owner == anyio.get_current_task(), f"{name} is inside, the owner is {owner}"
        self.say(name)

    def loop(self, main: Main) -> Body:
        """Return a thread that runs an event loop."""
        return partial(in_loop, self._stage, main)

    # -- what must hold ----------------------------------------------------------------------------

    def too_many_wakeups(self) -> str | None:
        """Say so if more than one waiter of a queue is on its way to the key, and not late."""
        for machine in self._machines:
            if len(machine.queue) > 1:
                oldest = self._stage.now - machine.grace
                woken = [
                    waiter
                    for waiter in machine.queue
                    if oldest <= waiter.woken_at != NEVER and oldest <= waiter.pledge.promise
                ]
                if len(woken) > 1:
                    return f"{len(woken)} wake-ups are on their way at once"
        return None

    def complaints_at_the_end(self) -> list[str]:
        """Say what is not as it was before anybody came."""
        found = []
        for subject in self._subjects:
            if subject.lock.statistics().owner is not None:
                found.append("somebody still owns the free lock")
            for lock in {subject.lock, subject.direct}:
                if isinstance(lock, BackoffLock | ThreadBackoffLock):
                    if (waiting := lock.statistics().tasks_waiting) != 0:
                        found.append(f"{waiting} left in the queue")
                    if lock.locked():
                        found.append("the key is gone")
                if isinstance(lock, ThreadBackoffLock):
                    taken = lock.acquire(False)
                    if taken and lock.acquire(False):
                        found.append("there are two keys")
                    if taken:
                        lock.release()
        return found


def direct(subject: Subject) -> Direct:
    """Return what threads use of a subject."""
    assert subject.direct is not None
    return subject.direct


def threads_only(subject: Subject) -> ThreadBackoffLock:
    """Return the lock of a subject for threads."""
    assert isinstance(subject.lock, ThreadBackoffLock)
    return subject.lock
