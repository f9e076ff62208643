"""A lock of one process: the machine that the locks run on, driven with a virtual clock."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator
from random import Random

from .._contention import Contention
from .._key import KEY, new_key
from .._waiter import NEVER, Pledge, Waiter
from ..schedules import Schedule
from ._outcome import Tally
from ._scenario import Scenario
from ._timeline import Timeline

__all__ = ["SHORTEST", "Contender", "Gate", "LocalWorld"]

SHORTEST = 1e-6
"""Seconds that a nap takes at the least: tries at one moment for ever would stop the clock."""

_NO_LIMITS = (None, None)


class Contender(Waiter):
    """One that contends, acquisition after acquisition; a `Gate` has it wait and wakes it."""

    __slots__ = ("asked", "clock", "gate", "is_watched", "nap", "nap_began", "number", "policy")

    policy: Generator[float, None, None] | None

    def __init__(self, number: int, gate: Gate) -> None:
        self.number = number
        self.gate = gate
        self.clock = gate.clock
        self.window = gate.window
        self.is_watched = gate.loop is not None
        self.asked = 0.0
        self.policy = None
        self.nap = 0
        """Number of the event that ends its nap."""
        self.nap_began = NEVER
        self.attempt = 1

    @property
    def name(self) -> str:
        """Its number."""
        return f"contender {self.number}"

    def promise(self, when: float) -> None:
        """Promise to try at `when`; a loop that vouches for its tasks is always in time."""
        if not self.is_watched:
            self.pledge.promise = when

    def wake(self) -> bool:
        """End its nap."""
        self.gate.end_nap(self)
        return True


class Gate:
    """A lock of one process, and those who wait for it: `acquired` is called with who gets it.

    With `is_loop` all are tasks of one event loop, else each is a thread of its own.
    """

    def __init__(
        self,
        timeline: Timeline,
        schedule: Schedule,
        rng: Random,
        late: Callable[[], float],
        acquired: Callable[[Contender], object],
        *,
        wake: bool = True,
        fair_after: float | None = 0.0,
        is_loop: bool = True,
        tally: Tally | None = None,
    ) -> None:
        self.window = NEVER if fair_after is None else fair_after
        self.loop = Pledge() if is_loop else None
        self.machine = Contention(new_key(), "simulated", schedule, rng=rng, wake_on_release=wake)
        self._timeline = timeline
        self._late = late
        self._acquired = acquired
        self._tally = tally

    def clock(self) -> float:
        """Return virtual seconds."""
        return self._timeline.now

    def ask(self, me: Contender) -> None:
        """Have a contender try, and wait if it must: what `BackoffLock` does."""
        me.asked = self._timeline.now
        me.attempt = 1
        machine = self.machine
        if not machine.queue:
            try:
                del machine.key[0]
            except IndexError:
                pass
            else:
                self._acquired(me)
                return
        me.pledge = Pledge() if self.loop is None else self.loop
        me.policy = machine.contend(me, _NO_LIMITS, None)
        self._step(me)

    def leave(self) -> None:
        """Release the lock: the key first, then the wake-up."""
        machine = self.machine
        machine.key.append(KEY)
        if machine.queue:
            machine.wake_next(self._timeline.now)

    def end_nap(self, me: Contender) -> None:
        """Have a nap end at once, but for how late wake-ups are."""
        line = self._timeline
        me.nap = line.at(line.now + max(SHORTEST, self._late()), self._try_again, me)

    def waits(self) -> array[float]:
        """Return how long each has waited that still waits."""
        now = self._timeline.now
        return array("d", [now - waiter.since for waiter in self.machine.queue])

    def tries(self) -> int:
        """Return the tries so far of those who still wait."""
        return sum(waiter.attempt for waiter in self.machine.queue)

    def close(self) -> None:
        """Let the waiters go, without one looking for the next."""
        tally = self._tally
        if tally is not None and tally.spans is not None:  # a picture shows the naps that go on
            for waiter in self.machine.queue:
                assert isinstance(waiter, Contender)
                tally.nap(waiter.number, waiter.nap_began, self._timeline.now)
        self.machine.queue.clear()

    def _try_again(self, me: Contender) -> None:
        line = self._timeline
        if me.nap != line.serial:
            return  # that nap has been cut short
        if self._tally is not None:
            self._tally.nap(me.number, me.nap_began, line.now)
        self._step(me)

    def _step(self, me: Contender) -> None:
        assert me.policy is not None
        delay = next(me.policy, None)
        if delay is None:
            me.policy = None
            self._acquired(me)
            return
        line = self._timeline
        me.nap_began = line.now
        if delay != NEVER:  # else it rests until it is woken
            until = line.now + max(SHORTEST, delay + self._late())
            me.nap = line.at(until, self._try_again, me)


class LocalWorld:
    """The contenders for a lock of one process, each a thread of its own."""

    def __init__(self, scenario: Scenario, schedule: Schedule, rng: Random, tally: Tally) -> None:
        self.timeline = Timeline()
        self._rounds = scenario.rounds
        self._tally = tally
        self._limit = scenario.limit
        self._hold = scenario.hold.sampler(rng)
        self._think = scenario.think.sampler(rng)
        self._gate = Gate(
            self.timeline,
            schedule,
            rng,
            scenario.late.sampler(rng),
            self._acquired,
            wake=scenario.wake,
            fair_after=scenario.fair_after,
            is_loop=False,
            tally=tally,
        )

    def enter(self, number: int, when: float) -> None:
        """Have another contender come at `when`."""
        self.timeline.at(when, self._gate.ask, Contender(number, self._gate))

    def _acquired(self, me: Contender) -> None:
        line, tally = self.timeline, self._tally
        ended = line.now + self._hold()
        tally.tries += me.attempt
        tally.hold(me.number, me.asked, line.now, min(ended, self._limit))
        line.at(ended, self._released, me)

    def _released(self, me: Contender) -> None:
        self._gate.leave()
        if self._tally.counts[me.number] == self._rounds:
            self._tally.finish()
            return
        think = self._think()
        if think:
            self.timeline.at(self.timeline.now + think, self._gate.ask, me)
        else:
            self._gate.ask(me)

    def close(self) -> array[float]:
        """End it; return how long each has waited that still waits."""
        waits = self._gate.waits()
        self._tally.tries += self._gate.tries()
        self._gate.close()
        return waits
