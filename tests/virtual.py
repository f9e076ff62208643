"""A world without time: waiters that nap on a virtual clock, for tests of the machine."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import repeat
from typing import Any

from backofflock import Schedule, WaitDetails
from backofflock._contention import Check, Contention, Observer
from backofflock._key import new_key
from backofflock._waiter import NEVER, Pledge, Waiter
from backofflock.schedules import Rng


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0


class VirtualWaiter(Waiter):
    """A waiter on a virtual clock that notes its wake-ups; a dead one cannot be woken."""

    def __init__(
        self, clock: Clock, name: str, window: float = 0.0, pledge: Pledge | None = None
    ) -> None:
        self.window = window
        self.is_watched = pledge is not None
        self.pledge = Pledge() if pledge is None else pledge
        self._clock = clock
        self._name = name
        self.wakeups = 0
        self.dead = False

    @property
    def name(self) -> str:
        return self._name

    def clock(self) -> float:
        return self._clock.now

    def wake(self) -> bool:
        if self.dead:
            return False
        self.wakeups += 1
        return True


class Scripted(Schedule):
    """The delays that a test lists."""

    def __init__(self, delays: Iterator[float], gives_up: bool) -> None:
        self._delays = delays
        self._gives_up = gives_up

    @property
    def gives_up(self) -> bool:
        return self._gives_up

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        return self._delays


class World:
    """A machine, its clock, and the waits that are under way."""

    def __init__(
        self,
        *,
        fair_after: float | None = 0.0,
        wake_on_release: bool = True,
        check: Check | None = None,
        gives_up: bool = False,
    ) -> None:
        self.clock = Clock()
        self._naps: list[Generator[float, None, None]] = []  # one that nobody refers to ends
        self.window = NEVER if fair_after is None else fair_after
        self.machine = Contention(
            new_key(),
            "a lock",
            Scripted(repeat(1.0), gives_up),
            wake_on_release=wake_on_release,
            check=check,
        )

    def waiter(
        self, name: str = "waiter", *, window: float | None = None, pledge: Pledge | None = None
    ) -> VirtualWaiter:
        return VirtualWaiter(self.clock, name, self.window if window is None else window, pledge)

    def take(self, window: float | None = None) -> bool:
        """Try as a newcomer does."""
        window = self.window if window is None else window
        return self.machine.try_take(None, self.clock.now, window)

    def release(self) -> None:
        """Release as the faces do: the key first, then the wake-up."""
        assert not self.machine.key, "released a lock that was free"
        self.machine.key.append(None)
        self.machine.wake_next(self.clock.now)

    def contend(
        self,
        waiter: VirtualWaiter,
        delays: Iterator[float] | None = None,
        *,
        timeout: float | None = None,
        max_attempts: int | None = None,
        observe: Observer | None = None,
    ) -> Generator[float, None, None]:
        if delays is not None:
            self.machine.schedule = Scripted(delays, gives_up=True)
        return self.machine.contend(waiter, (timeout, max_attempts), observe)

    def napping(self, waiter: VirtualWaiter | None = None) -> Generator[float, None, None]:
        """Return the wait of one that has tried in vain, and naps."""
        policy = self.contend(waiter or self.waiter())
        assert not acquires(policy)
        self._naps.append(policy)
        return policy


def ignore(details: WaitDetails) -> None:
    """Watch a nap: whose naps are watched does not rest."""


def taken(**options: Any) -> World:
    """Return a world whose lock is held."""
    world = World(**options)
    assert world.take()
    return world


def acquires(policy: Generator[float, None, None]) -> bool:
    """Let a waiter try once more; True if it has the key now, False if it naps again."""
    return next(policy, None) is None
