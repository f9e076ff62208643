"""Faulty locks that only a preemption at the right point shows for what they are."""

from __future__ import annotations

from time import monotonic
from typing import Any

from backofflock import BackoffLock, ThreadBackoffLock
from backofflock._contention import Contention
from backofflock._hosts import ThreadWaiter
from backofflock._key import KEY
from backofflock._waiter import NEVER, Waiter

__all__ = [
    "ChecksThenTakes",
    "ClearsOwnerLate",
    "ForgetsEarlyWakeUps",
    "LooksBeforeTheKey",
    "LosesKeyAtTimeout",
    "NoTryAfterJoining",
    "WakesBeforeTheKey",
]


class TwoSteps:
    """A key that another can take between the look and the taking."""

    def __init__(self) -> None:
        self._is_there = True

    def __delitem__(self, index: int, /) -> None:
        if not self._is_there:
            raise IndexError
        self._is_there = False

    def append(self, element: None, /) -> None:
        self._is_there = True

    def __len__(self) -> int:
        return int(self._is_there)


class ChecksThenTakes(ThreadBackoffLock):
    """Looking whether it is free and taking it are two steps."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._key = self._contention.key = TwoSteps()


class WakesBeforeTheKey(ThreadBackoffLock):
    """The wake-up is sent before the key is back."""

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _give_back(self) -> None:
        if self._queue:
            self._contention.wake_next(monotonic())
        self._key.append(KEY)


class LooksBeforeTheKey(ThreadBackoffLock):
    """Whether anybody waits is looked at before the key is back."""

    def __exit__(self, *exc: object) -> None:
        waits = bool(self._queue)
        self._key.append(KEY)
        if waits:
            self._contention.wake_next(monotonic())


class ClearsOwnerLate(BackoffLock):
    """The owner is cleared when the key is back, and may be the next one's by then."""

    async def __aexit__(self, *exc: object) -> None:
        self._key.append(KEY)
        self._owner = None
        if self._queue:
            self._contention.wake_next(monotonic())


class NoTryAfterJoining(Contention):
    """Who has joined naps without another look at the key."""

    def try_take(self, waiter: Waiter | None, now: float | None, window: float) -> bool:
        if waiter is not None and waiter.attempt == 1:
            return False
        return super().try_take(waiter, now, window)


class ForgetsEarlyWakeUps(Contention):
    """A wake-up that comes between the try and the nap is thrown away."""

    def _nap(self, waiter: Waiter, *rest: Any) -> float:
        delay = super()._nap(waiter, *rest)
        assert isinstance(waiter, ThreadWaiter)
        waiter._gate.acquire(False)
        return delay


class LosesKeyAtTimeout(Contention):
    """A woken waiter whose time limit runs out takes the key along."""

    def _leave(self, waiter: Waiter) -> None:
        if waiter.woken_at != NEVER and self.key:
            del self.key[0]
        super()._leave(waiter)
