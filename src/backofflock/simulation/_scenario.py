"""What is simulated: who contends, for how long they hold, and where the lock is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ._distributions import Distribution

__all__ = ["Arrival", "Remote", "Scenario"]

_MOST = 2_000_000
_BURST = 0.001

_HOLD = Distribution.fixed(0.01)
_THINK = Distribution("exponential", 0.01)
_LATE = Distribution.fixed(0.0001)
_RTT = Distribution.fixed(0.001)


@dataclass(frozen=True, slots=True)
class Arrival:
    """When the contenders come: all within some seconds, or at random with a mean rate.

    >>> Arrival.parse("burst:0.001"), Arrival.parse("poisson:50")
    (Arrival(kind='burst', value=0.001), Arrival(kind='poisson', value=50.0))
    """

    kind: str = "burst"
    """``burst`` or ``poisson``."""
    value: float = _BURST
    """Seconds within which a burst comes; contenders a second of a Poisson process."""

    @classmethod
    def parse(cls, text: str) -> Arrival:
        """Return the arrival of a text: ``burst``, ``burst:SECONDS`` or ``poisson:RATE``.

        Raises ValueError for another text.
        """
        kind, colon, rest = text.strip().lower().partition(":")
        try:
            value = float(rest) if colon else _BURST
        except ValueError:
            value = math.nan
        if kind == "burst" and 0.0 <= value < math.inf:
            return cls(kind, value)
        if kind == "poisson" and colon and 0.0 < value < math.inf:
            return cls(kind, value)
        raise ValueError(
            f"{text!r} is no arrival: write burst:0.001, all within so many seconds, "
            "or poisson:50, at random, so many a second"
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.value:g}"


_ARRIVAL = Arrival()


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A lock on a server: a try is a request, and nobody is woken by a release."""

    rtt: Distribution = _RTT
    """Seconds that a request and its reply are under way, without the server."""
    capacity: float = 20_000.0
    """Requests that the server carries out in a second; further ones queue there."""
    lost: float = 0.0
    """Probability that a reply does not arrive; the request was carried out."""
    processes: int | None = None
    """Processes among which the contenders are spread, each behind the gate of its own; None for
    one of each."""
    request_timeout: float = 5.0
    """Seconds after which a request counts as unanswered."""

    def __post_init__(self) -> None:
        _number("capacity", self.capacity, 0.0, "requests a second")
        _number("request_timeout", self.request_timeout, 0.0, "seconds")
        if not 0.0 <= self.lost < 1.0:
            raise ValueError(f"lost must be a probability from 0 to below 1, not {self.lost!r}")
        if self.processes is not None:
            _whole("processes", self.processes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One contest; a value that cannot be simulated raises ValueError.

    It ends after `seconds`, or when every contender has had the lock `rounds` times, whatever comes
    first. At least one of the two is needed.
    """

    contenders: int = 64
    """How many contend."""
    hold: Distribution = _HOLD
    """Seconds for which each holds the lock."""
    think: Distribution = _THINK
    """Seconds between a contender's release and its asking anew; with 0 one who need not queue
    takes the lock again before anybody else can try."""
    arrival: Arrival = _ARRIVAL
    """When they come."""
    rounds: int | None = None
    """How often each takes the lock; None for again and again."""
    seconds: float | None = 60.0
    """When it ends; None for when all have had their rounds."""
    late: Distribution = _LATE
    """Seconds by which naps end late, and wake-ups arrive."""
    wake: bool = False
    """Whether a release wakes the next waiter (of a lock of one process)."""
    fair_after: float | None = None
    """Seconds of waiting after which a free key is left to the first in the queue; None: never."""
    remote: Remote | None = None
    """Where the lock is, if it is not in this process."""

    def __post_init__(self) -> None:
        _whole("contenders", self.contenders)
        if self.rounds is not None:
            _whole("rounds", self.rounds)
        elif self.seconds is None:
            raise ValueError("rounds or seconds must be given: it would not end")
        if self.seconds is not None:
            _number("seconds", self.seconds, 0.0, "seconds")
        if self.fair_after is not None and not 0.0 <= self.fair_after < math.inf:
            raise ValueError(
                f"fair_after must be seconds of 0 or more, or None, not {self.fair_after!r}"
            )
        if self.remote is not None and (self.wake or self.fair_after is not None):
            raise ValueError(
                "wake and fair_after are for a lock of one process: a server wakes nobody"
            )
        processes = None if self.remote is None else self.remote.processes
        if processes is not None and processes > self.contenders:
            raise ValueError(
                f"processes must be at most the contenders, {self.contenders}, not {processes}"
            )

    @property
    def limit(self) -> float:
        """When it ends, at the latest."""
        return math.inf if self.seconds is None else self.seconds


def _whole(field: str, value: int) -> None:
    if not 1 <= value <= _MOST:
        raise ValueError(f"{field} must be a whole number from 1 to {_MOST}, not {value}")


def _number(field: str, value: float, above: float, of: str) -> None:
    if not above < value < math.inf:
        raise ValueError(f"{field} must be a number of {of} above {above:g}, not {value!r}")
