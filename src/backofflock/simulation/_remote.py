"""A lock on a server: the policy of the distributed locks, driven with a virtual clock.

What a contender does between its requests is `Pursuit`, the generator that the real locks run on;
without a time limit it asks its clock for nothing that counts. A request is one event: as the
server carries requests out in the order of their arrival, its answer and the time of the reply are
known when it arrives. Leases do not end by themselves here, and no contender dies.
Nor is a lease handed over within a process: each acquisition takes its two requests, as with those
backends whose grants bring one fence.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from random import Random
from typing import cast

from ..distributed._policy import Ask, Nap, Pursuit, Steps
from ..distributed._turns import Turns
from ..errors import BackendUnavailable
from ..leases import Busy, Grant
from ..schedules import DEFAULT_SCHEDULE, Schedule
from ._local import SHORTEST, Contender, Gate
from ._outcome import Tally
from ._scenario import Remote, Scenario
from ._timeline import Timeline

__all__ = ["RemoteWorld"]

_TTL = 30.0
_GRANT = Grant(1)
_BUSY = Busy()


class _Process:
    """The contenders of one process: one of them asks the server, the others wait at the gate."""

    __slots__ = ("gate", "turns")

    def __init__(self, gate: Gate | None) -> None:
        self.gate = gate
        self.turns = Turns()

    def granted(self, now: float, pursuit: Pursuit) -> None:
        """Note that it has the lock, and whether it met others on the way."""
        if pursuit.met_others:
            self.turns.met_others(now)
        if pursuit.attempt > 1:
            self.turns.has_waited(now)

    def leave(self, now: float) -> None:
        """Let the next of this process ask."""
        self.turns.left = now
        if self.gate is not None:
            self.gate.leave()


class _Client(Contender):
    """A contender with its process, and the request that it has under way."""

    __slots__ = ("process", "pursuit", "sent", "steps", "trip", "waiting", "within")

    steps: Steps

    def __init__(self, number: int, process: _Process) -> None:
        self.number = number
        self.process = process
        if process.gate is not None:
            super().__init__(number, process.gate)
        self.asked = 0.0
        self.waiting = False
        self.pursuit: Pursuit | None = None
        self.sent = 0.0
        self.within = 0.0
        self.trip = 0.0


class _Server:
    """One that has the lock, and carries out requests one after the other."""

    __slots__ = ("busy", "cost", "free_at", "holder")

    def __init__(self, capacity: float) -> None:
        self.cost = 1.0 / capacity
        self.free_at = 0.0
        self.busy = 0.0
        self.holder: _Client | None = None

    def done_at(self, now: float) -> float:
        """Return when a request is carried out that arrives now."""
        self.free_at = done = max(self.free_at, now) + self.cost
        self.busy += self.cost
        return done


class RemoteWorld:
    """The contenders for a lock on a server."""

    def __init__(
        self, scenario: Scenario, remote: Remote, schedule: Schedule, rng: Random, tally: Tally
    ) -> None:
        self.timeline = Timeline()
        self._schedule = schedule
        self._rng = rng
        self._tally = tally
        self._rounds = scenario.rounds
        self._limit = scenario.limit
        self._hold = scenario.hold.sampler(rng)
        self._think = scenario.think.sampler(rng)
        self._late = scenario.late.sampler(rng)
        self._trip: Callable[[], float] = remote.rtt.sampler(rng)
        self._lost = remote.lost
        self._timeout = remote.request_timeout
        self._server = _Server(remote.capacity)
        self._clients: list[_Client] = []
        count = remote.processes or scenario.contenders
        self._processes = [_Process(self._gate(scenario, count)) for _ in range(count)]

    def _gate(self, scenario: Scenario, processes: int) -> Gate | None:
        if processes == scenario.contenders:
            return None  # it would always be open
        return Gate(self.timeline, DEFAULT_SCHEDULE, self._rng, self._late, self._passed)

    def enter(self, number: int, when: float) -> None:
        """Have another contender come at `when`."""
        client = _Client(number, self._processes[number % len(self._processes)])
        self._clients.append(client)
        self.timeline.at(when, self._ask, client)

    def _ask(self, me: _Client) -> None:
        me.waiting = True
        if me.process.gate is not None:
            me.process.gate.ask(me)
        else:
            me.asked = self.timeline.now
            self._passed(me)

    def _passed(self, contender: Contender) -> None:
        me = cast("_Client", contender)
        now = self.timeline.now
        me.pursuit = pursuit = Pursuit(
            name="simulated",
            token="",
            waiter="",
            ttl=_TTL,
            request_timeout=self._timeout,
            schedule=self._schedule,
            rng=self._rng,
            limits=(None, None),
            since=0.0,
            observe=None,
            cede=me.process.turns.ceded(now),
        )
        me.steps = pursuit.steps()
        self._go_on(me, next(me.steps), now)

    def _go_on(self, me: _Client, step: Ask | Nap, now: float) -> None:
        """Do what the policy asks for, from `now` on."""
        if isinstance(step, Nap):
            until = now + max(SHORTEST, step.seconds + self._late())
            self._tally.nap(me.number, now, until)
            now = until
            step = me.steps.send(None)
        assert isinstance(step, Ask)
        me.sent, me.within, me.trip = now, step.within, self._trip()
        self.timeline.at(now + me.trip / 2, self._tried, me)

    def _tried(self, me: _Client) -> None:
        """Answer a request to acquire that arrives."""
        server, line = self._server, self.timeline
        self._tally.requests += 1
        reply = server.done_at(line.now) + me.trip / 2
        answer: Grant | Busy = _BUSY
        if server.holder is None or server.holder is me:  # it may not have seen the first grant
            server.holder, answer = me, _GRANT
        if self._is_unanswered(reply - me.sent, me.within):
            self._tally.unanswered += 1
            error = BackendUnavailable("the server", "try_acquire", "no answer")
            step = me.steps.throw(error)
            self._go_on(me, step, max(line.now, me.sent + me.within))
            return
        try:
            step = me.steps.send(answer)
        except StopIteration:
            self._granted(me, reply)
        else:
            self._go_on(me, step, reply)

    def _granted(self, me: _Client, now: float) -> None:
        pursuit, tally = me.pursuit, self._tally
        assert pursuit is not None
        if now > self._limit:
            return  # it is waiting when the simulation ends
        me.process.granted(now, pursuit)
        me.waiting, me.pursuit = False, None
        ended = now + self._hold()
        tally.tries += pursuit.attempt
        tally.hold(me.number, me.asked, now, min(ended, self._limit))
        while (now := now + self._until_renewal()) < ended:
            self.timeline.at(now, self._renewed, me)
        me.sent, me.trip = ended, self._trip()
        self.timeline.at(ended + me.trip / 2, self._released, me)

    def _until_renewal(self) -> float:
        return _TTL / 3 * (1.0 - 0.25 * self._rng.random())

    def _renewed(self, _me: _Client) -> None:
        self._tally.requests += 1
        self._server.done_at(self.timeline.now)

    def _released(self, me: _Client) -> None:
        """Answer a request to release that arrives."""
        line, server = self.timeline, self._server
        self._tally.requests += 1
        reply = server.done_at(line.now) + me.trip / 2
        server.holder = None
        if self._is_unanswered(reply - me.sent, self._timeout):
            self._tally.unanswered += 1
            reply = max(line.now, me.sent + self._timeout)
        line.at(reply, self._left, me)

    def _is_unanswered(self, took: float, within: float) -> bool:
        return took > within or (self._lost > 0.0 and self._rng.random() < self._lost)

    def _left(self, me: _Client) -> None:
        line = self.timeline
        me.process.leave(line.now)
        if self._tally.counts[me.number] == self._rounds:
            self._tally.finish()
            return
        think = self._think()
        if think:
            line.at(line.now + think, self._ask, me)
        else:
            self._ask(me)

    def close(self) -> array[float]:
        """End it; return how long each has waited that still waits."""
        now, waits = self.timeline.now, array("d")
        for me in self._clients:
            if me.waiting:
                waits.append(now - me.asked)
                self._tally.tries += 0 if me.pursuit is None else me.pursuit.attempt
        for process in self._processes:
            if process.gate is not None:
                process.gate.close()
        self._tally.busy = min(self._server.busy, now)
        return waits
