"""Our locks with other values of their defaults: what led to those that they have.

They take part only if ``--only`` names them, as in ``--only 'ThreadBackoffLock*'``.
"""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from functools import partial

from backofflock import DEFAULT_SCHEDULE, POLLING_SCHEDULE, BackoffLock, ThreadBackoffLock
from backofflock._hosts import Alarm, Alarms

from .peers import Peer, all_peers

__all__ = ["variants"]

Lock = BackoffLock | ThreadBackoffLock

WINDOWS = (0.0, 0.002, 0.004, 0.010, 0.020, 0.040, 0.080)
"""Seconds of ``fair_after``."""

GRACES = (0.001, 0.003, 0.030)
"""Seconds by which a waiter may be late for its promise."""

WAYS = (1e-6, 0.0002)
"""Seconds for which a thread gives way."""


def variants() -> tuple[Peer, ...]:
    """Return our locks with other defaults, and without their doorbell or their giving way."""
    return tuple(
        peer for peer in all_peers() if peer.package == "backofflock" for peer in _of(peer)
    )


def _of(peer: Peer) -> Iterator[Peer]:
    def variant(text: str, make: Callable[[], Lock]) -> Peer:
        return Peer(
            f"{peer.name}({text})", peer.package, peer.hosts, make, peer.failed, variant=True
        )

    for window in WINDOWS:
        yield variant(f"fair_after={window:g}", partial(peer.make, fair_after=window))
    yield variant("fair_after=None", partial(peer.make, fair_after=None))
    yield variant(
        "neither order nor wake-ups",
        partial(peer.make, DEFAULT_SCHEDULE, fair_after=None, wake_on_release=False),
    )
    yield variant("POLLING_SCHEDULE", partial(peer.make, POLLING_SCHEDULE))
    for grace in GRACES:
        yield variant(f"grace={grace:g}", partial(_with_grace, peer.make, grace))
    yield variant("call_soon_threadsafe", partial(_without_doorbell, peer.make))
    if peer.make is ThreadBackoffLock:
        yield variant("queues at once", partial(_GivesWay, None))
        for seconds in WAYS:
            yield variant(f"gives way for {seconds * 1e6:g} us", partial(_GivesWay, seconds))


def _with_grace(make: Callable[[], Lock], grace: float) -> Lock:
    lock = make()
    lock._contention.grace = grace
    return lock


class _GivesWay(ThreadBackoffLock):
    """A lock whose threads give way to one on its way to the key for other seconds, or not."""

    __slots__ = ("_seconds",)

    def __init__(self, seconds: float | None) -> None:
        super().__init__()
        self._seconds = seconds

    def _give_way(self) -> None:
        if self._key and self._seconds is not None:
            time.sleep(self._seconds)


class _Alarms(Alarms):
    """The alarms of a lock whose loops are called as asyncio has it."""

    def __setitem__(self, loop: AbstractEventLoop, alarm: Alarm) -> None:
        alarm.post = loop.call_soon_threadsafe
        super().__setitem__(loop, alarm)


def _without_doorbell(make: Callable[[], Lock]) -> Lock:
    lock = make()
    lock._alarms = _Alarms(lock._queue)
    return lock
