"""Those who contend for one lock: what each is doing, and the turns it has had."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from hashlib import sha256
from threading import Event
from time import monotonic
from typing import NamedTuple

from .measure import Turn

__all__ = ["Contender", "Doing", "Room", "State"]


class State(StrEnum):
    """What a contender is doing."""

    RESTS = "rests"
    WAITS = "waits"
    HOLDS = "holds"
    DONE = "done"


class Doing(NamedTuple):
    """What a contender is doing, replaced as a whole so that others may read it at any time."""

    state: State
    since: float
    """Monotonic seconds."""
    failed: int
    """Failed tries of this turn."""


class Room:
    """The critical section. It notices if two are ever inside, whatever the lock believes."""

    def __init__(self, hold: float, stopping: Event) -> None:
        self.hold = hold
        self.stopping = stopping
        self.inside: int = 0
        self.intrusions: int = 0

    @contextmanager
    def entered(self) -> Generator[None, None, None]:
        """Count one more inside; only ever called under the lock."""
        self.inside += 1
        if self.inside != 1:
            self.intrusions += 1
        try:
            yield
        finally:
            self.inside -= 1


class Contender:
    """One thread or task: written by that thread or task only, read by the display."""

    def __init__(self, name: str, room: Room) -> None:
        self.name = name
        self.turns: list[Turn] = []
        self.other_work: int = 0
        self.doing: Doing = Doing(State.RESTS, monotonic(), 0)
        self._room = room

    def ask(self) -> None:
        """Begin a turn: from here on it waits."""
        self.doing = Doing(State.WAITS, monotonic(), 0)

    def failed(self, attempt: int) -> None:
        """Note that try number `attempt` has failed and the wait goes on."""
        self.doing = Doing(State.WAITS, self.doing.since, attempt)

    def work(self) -> None:
        """Do a unit of other work: less than a millisecond, so a task may do it on its loop."""
        sha256(bytes(65536)).digest()
        self.other_work += 1

    def give_up(self, attempts: int) -> None:
        """End the turn without the lock."""
        asked, now = self.doing.since, monotonic()
        self.turns.append(Turn(self.name, asked, now, None, attempts))
        self.doing = Doing(State.RESTS, now, 0)

    def finish(self) -> None:
        """Say that no turn follows."""
        self.doing = Doing(State.DONE, monotonic(), 0)

    @contextmanager
    def _holding(self) -> Generator[None, None, None]:
        _, asked, failed = self.doing
        now = monotonic()
        self.doing = Doing(State.HOLDS, now, failed)
        try:
            with self._room.entered():
                yield
        finally:
            released = monotonic()
            self.turns.append(Turn(self.name, asked, now, released, failed + 1))
            self.doing = Doing(State.RESTS, released, 0)

    def hold_in_thread(self) -> None:
        """Stay in the critical section for its time, or until all have to stop."""
        with self._holding():
            self._room.stopping.wait(self._room.hold)

    async def hold_in_task(self) -> None:
        """Stay in the critical section for its time; a task that has to stop is cancelled."""
        with self._holding():
            await asyncio.sleep(self._room.hold)
