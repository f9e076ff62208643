"""A world without time: waiters that nap on a virtual clock, for tests of the machine."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import repeat

from backofflock._contention import Check, Contention, Observer, Waiter
from backofflock._key import new_key


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0


class VirtualWaiter(Waiter):
    """A waiter on a virtual clock that notes its wake-ups; a dead one cannot be woken."""

    def __init__(self, clock: Clock, name: str = "waiter") -> None:
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


def no_check(waiter: Waiter, now: float) -> None:
    """Know nothing of the holder."""


class World:
    """A machine, its clock, and the waits that are under way."""

    def __init__(self, *, fair_after: float | None = 0.0, wake_on_release: bool = True) -> None:
        self.clock = Clock()
        self.machine = Contention(
            new_key(), "a lock", fair_after=fair_after, wake_on_release=wake_on_release
        )

    def waiter(self, name: str = "waiter") -> VirtualWaiter:
        return VirtualWaiter(self.clock, name)

    def take(self) -> bool:
        """Try as a newcomer does."""
        return self.machine.try_take(None, self.clock.now)

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
        check: Check = no_check,
        observe: Observer | None = None,
    ) -> Generator[float, None, None]:
        return self.machine.contend(
            waiter,
            repeat(1.0) if delays is None else delays,
            timeout=timeout,
            max_attempts=max_attempts,
            check=check,
            observe=observe,
        )


def acquires(policy: Generator[float, None, None]) -> bool:
    """Let a waiter try once more; True if it has the key now, False if it naps again."""
    return next(policy, None) is None
