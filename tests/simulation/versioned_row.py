"""The cloud-architecture simulation: clients that update one versioned row, each once.

A client reads the version and writes with it; a write with an old version fails, and the client
sleeps and reads again. There is no lock in it: what it shares with ours are the schedules, and the
virtual clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from backofflock import Schedule
from backofflock.simulation._distributions import Distribution
from backofflock.simulation._timeline import Timeline

MESSAGE = Distribution.parse("normal:0.010,0.002")
"""Seconds for which a message is under way, in either direction."""


class _Client:
    def __init__(self, delays: Iterator[float]) -> None:
        self.delays = delays
        self.version = -1


class Row:
    """The row, and the clients that want to update it."""

    def __init__(self, schedule: Schedule, clients: int, rng: Random) -> None:
        self._line = Timeline()
        self._message = MESSAGE.sampler(rng)
        self._version = 0
        self.writes = 0
        self.finished = 0.0
        for _ in range(clients):
            client = _Client(schedule.delays(rng))
            self._line.at(self._message(), self._read, client)
        self._line.run()
        assert self._version == clients

    def _read(self, client: _Client) -> None:
        client.version = self._version
        self._line.at(self._line.now + self._message() + self._message(), self._write, client)

    def _write(self, client: _Client) -> None:
        self.writes += 1
        told = self._line.now + self._message()
        if client.version == self._version:
            self._version += 1
            self.finished = max(self.finished, told)
        else:
            self._line.at(told + next(client.delays) + self._message(), self._read, client)
