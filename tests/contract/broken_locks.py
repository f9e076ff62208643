"""Faulty locks: each breaks one promise, so that the check of that promise can be seen to bite.

Most are the real faces over a machine with one method changed.
"""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Any, ClassVar

import trio

from backofflock import BackoffLock, ThreadBackoffLock
from backofflock._attempts import Attempts
from backofflock._contention import Contention, Limits, Observer
from backofflock._hosts import running_task
from backofflock._hosts._asyncio import Alarm, Alarms, AsyncioWaiter
from backofflock._key import KEY
from backofflock._waiter import NEVER, Waiter
from backofflock.schedules import LONGEST

from ..virtual import ignore
from .subjects import Direct, Lock, Make, Subject

Policy = Generator[float, None, None]


def over_machine(
    face: Callable[..., Lock],
    machine: type[Contention],
    over: Callable[[], Direct] | None = None,
) -> Make:
    """Return what makes a face of ours over a faulty machine."""

    def make(**options: Any) -> Subject:
        if over is None:
            subject = made(face(**options))
        else:
            direct = over()
            subject = Subject(face(over=direct, **options), direct)
        lock, real = subject.lock, subject.lock._contention
        lock._contention = machine(
            real.key,
            real.label,
            real.schedule,
            rng=real.rng,
            wake_on_release=real.wake_on_release,
            check=real.check,
        )
        lock._queue = lock._contention.queue
        lock._alarms = Alarms(lock._queue)
        return subject

    return make


def of_face(face: Callable[..., Lock]) -> Make:
    """Return what makes a faulty face."""
    return lambda **options: made(face(**options))


def made(lock: Lock) -> Subject:
    return Subject(lock, lock if isinstance(lock, ThreadBackoffLock) else None)


# -- machines ------------------------------------------------------------------------------------


class LosesKeyAtCancel(Contention):
    """It gives the key to whom it wakes, and one that is cancelled then takes it along."""

    def abandon(self, policy: Policy, waiter: Waiter) -> None:
        if waiter.woken_at != NEVER and self.key:
            del self.key[0]
        super().abandon(policy, waiter)


class DoublesKeyAtCancel(Contention):
    """A cancelled waiter gives back what it never had."""

    def abandon(self, policy: Policy, waiter: Waiter) -> None:
        self.key.append(KEY)
        super().abandon(policy, waiter)


class LetsHoldersBarge(Contention):
    """Whoever just released takes the lock again, however long others wait."""

    def _left_to_another(self, *_: object) -> bool:
        return False


class ReservesForEver(Contention):
    """The key is kept for the first waiter, dead or alive."""

    def _keeper(self, now: float) -> Waiter | None:
        try:
            return self.queue[0]
        except IndexError:
            return None


class NapsUntilWoken(Contention):
    """It trusts in wake-ups: no timer ends a nap."""

    def _next_delay(
        self, waiter: Waiter, delays: Iterator[float], now: float, limits: Limits
    ) -> float:
        super()._next_delay(waiter, delays, now, limits)
        return LONGEST


class NeverWakes(Contention):
    """Every nap is slept out, although it was made to wake."""

    def wake_next(self, now: float | None = None) -> None:
        pass


class WakesEverybody(Contention):
    """The whole herd is woken where one can get in."""

    def wake_next(self, now: float | None = None) -> None:
        for waiter in tuple(self.queue):
            waiter.woken_at = waiter.clock() if now is None else now
            self.wakeups += waiter.wake()


class KeepsTheCancelled(Contention):
    """A waiter that leaves without the key stays in the queue."""

    def _leave(self, waiter: Waiter) -> None:
        if self.queue and self.key:
            self.wake_next(waiter.clock())


class LosesWakeUpAtCancel(Contention):
    """A woken waiter that leaves tells nobody, and the key lies free."""

    def _leave(self, waiter: Waiter) -> None:
        self._drop(waiter)


class OversleepsDeadline(Contention):
    """Its last nap is as long as the schedule says."""

    def _next_delay(
        self, waiter: Waiter, delays: Iterator[float], now: float, limits: Limits
    ) -> float:
        super()._next_delay(waiter, delays, now, limits)  # raises at the limits
        return next(delays)

    def promise_anew(self, waiter: Waiter, delay: float) -> float:
        waiter.promise(waiter.clock() + delay)
        return delay


class MissesLastTry(Contention):
    """At its deadline it gives up without another look."""

    def try_take(self, waiter: Waiter | None, now: float | None, window: float) -> bool:
        if waiter is not None:
            assert now is not None, "a waiter knows the time"
            if now >= waiter.deadline:
                return False
        return super().try_take(waiter, now, window)


class TriesOnceMore(Contention):
    """It counts naps and not tries."""

    def _next_delay(
        self, waiter: Waiter, delays: Iterator[float], now: float, limits: Limits
    ) -> float:
        timeout, tries = limits
        more = None if tries is None else tries + 1
        return super()._next_delay(waiter, delays, now, (timeout, more))


# -- faces ---------------------------------------------------------------------------------------


class LosesKeyAtError(BackoffLock):
    """An error inside leaves the lock held."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            await super().__aexit__(exc_type, exc_value, traceback)


class ReleasesForOthers(BackoffLock):
    """Its exit puts the key back, whoever holds the lock by then."""

    async def __aexit__(self, *exc: object) -> None:
        self._give_back()


class ForgetsToClearOwner(BackoffLock):
    """The owner stands on after the release."""

    def _give_back(self) -> None:
        owner = self._owner
        super()._give_back()
        self._owner = owner

    async def __aexit__(self, *exc: object) -> None:
        self.release()


class LooksThenTakes(ThreadBackoffLock):
    """Looking whether it is free and taking it are two steps."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._key = self._contention.key = TwoSteps()


class TwoSteps:
    """A key that another can take between the look and the taking."""

    def __init__(self) -> None:
        self._free = True

    def __delitem__(self, index: int, /) -> None:
        if not self._free:
            raise IndexError
        time.sleep(0.0001)
        self._free = False

    def append(self, element: None, /) -> None:
        self._free = True

    def __len__(self) -> int:
        return int(self._free)


class BlocksItsLoop(ThreadBackoffLock):
    """A task naps as a thread does."""

    async def _enter(self, limits: Limits | None = None, observe: Observer | None = None) -> None:
        task = running_task()
        if self._contention.try_take(None, time.monotonic(), 0.0):
            return
        waiter = self._waiter(task, steps=True)
        limits = limits or self._default_limits
        for seconds in self._contention.contend(waiter, limits, observe or ignore):
            time.sleep(seconds)  # noqa: ASYNC251 - that is the fault

    async def __aenter__(self) -> None:
        await self._enter()


class TakesBeforeCheckpoint(BackoffLock):
    """In trio it takes the key and then passes the checkpoint, where a cancel loses the key."""

    async def __aenter__(self) -> None:
        self.acquire_nowait()
        await trio.lowlevel.checkpoint()

    async def acquire(self, **limits: Any) -> bool:
        await self.__aenter__()
        return True


class LastComeFirstServed(BackoffLock):
    """Newcomers go to the front."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._queue = self._contention.queue = Stack()
        self._alarms = Alarms(self._queue)


class Stack(deque[Waiter]):
    def append(self, element: Waiter, /) -> None:
        self.appendleft(element)


class FailsAtClosedLoops(BackoffLock):
    """Waking a loop that is closed is the releaser's problem."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._alarms = CarelessAlarms(self._queue)


class CarelessAlarms(Alarms):
    def __missing__(self, loop: AbstractEventLoop) -> Alarm:
        alarm = super().__missing__(loop)
        alarm.waiter = Careless
        return alarm


class Careless(AsyncioWaiter):
    def wake(self) -> bool:
        assert not self.alarm.loop.is_closed(), "the loop is closed"
        return super().wake()


class KeepsLeftAttempts(BackoffLock):
    """A loop over attempts that is left early stays in the queue."""

    def attempts(self, **limits: Any) -> Attempts:
        return Kept(self, self._limits(limits.get("timeout"), limits.get("max_attempts")))


class Kept(Attempts):
    policies: ClassVar[list[Policy | None]] = []

    def close(self) -> None:
        self.policies.append(self._policy)


class KeepsUnentered(BackoffLock):
    """An attempt that acquired and was not entered keeps the lock."""

    def attempts(self, **limits: Any) -> Attempts:
        return Held(self, self._limits(limits.get("timeout"), limits.get("max_attempts")))


class Held(Attempts):
    def close(self) -> None:
        self._attempt._to_enter = False
        super().close()
