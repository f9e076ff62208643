"""Schedules: how long to sleep between one failed try and the next.

A schedule is a value: frozen, hashable, picklable; its ``repr`` can be evaluated, and its ``str``
is read back by `Schedule.parse`. It holds no state; `Schedule.delays` gives a fresh iterator for
one acquisition, whose k-th item (k = 0, 1, 2 …) is slept before retry k. All times are seconds.
Three fields are common to the families:

- ``initial``: the unit of the delays, or ``(low, high)``: each acquisition draws its own unit
  uniformly from that range, once, and keeps it;
- ``cap``: no delay is longer (``None``: none is longer than `LONGEST`);
- ``jitter``: 0 to 1. With ``ceiling`` the delay of the formula, already capped, what is slept is
  ``ceiling * (1 - jitter * U)`` with U uniform in [0, 1): 0 is no jitter, 0.5 "equal", 1 "full"
  jitter. As the cap comes before the jitter, waiters do not pile up at the cap.

How to pick one
---------------
Take the cap first. While N waiters nap for a mean of c seconds and each holds for h, and nobody is
woken, the free lock is found by the first of N naps to end, after about c / N. So the lock is used
for h out of every h + c/N seconds::

    utilisation = 1 / (1 + c / (N * h))

A cap near ten hold times keeps a lock with ten waiters at one half, with a hundred at nine tenths,
and costs each waiter one try in ten holds. With ``wake_on_release=True`` (the default of the locks)
a release ends the nap of the next waiter, and the schedule only matters where nobody wakes anybody:
a foreign lock (``over=``), a lost wake-up, another process.
"""

from __future__ import annotations

import math
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, count, islice, repeat
from operator import mul
from typing import Protocol, cast

from ._checks import Duration, Span, duration, number, span

__all__ = [
    "DEFAULT_SCHEDULE",
    "FLEET_SCHEDULE",
    "LONGEST",
    "POLLING_SCHEDULE",
    "Constant",
    "Decorrelated",
    "Exponential",
    "Fibonacci",
    "Linear",
    "Polynomial",
    "Quadratic",
    "Rng",
    "Schedule",
    "Sequence",
    "Spin",
]

LONGEST = 1e9
"""The cap of a schedule without a cap, in seconds: 31 years, and still finite."""


class Rng(Protocol):
    """Where randomness comes from: ``random.Random``, the module ``random``, or your own."""

    def random(self) -> float:
        """Return a float uniform in [0, 1)."""
        ...


# The module and not an instance of our own: it is seeded anew in a forked child, so that parent and
# child do not nap in step.
_SHARED_RNG: Rng = random


class Schedule(ABC):
    """A rule for the delays between tries; the base of all families.

    Subclass it with a frozen dataclass that defines `delays` to bring a rule of your own:

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Countdown(Schedule):
    ...     start: int
    ...     def delays(self, rng=None):
    ...         return iter(range(self.start, 0, -1))
    >>> list(Countdown(3).delays())
    [3, 2, 1]

    `gives_up` says whether its delays may end, which makes a waiter give up. A rule of your own
    whose delays never do may say False: waiters of one event loop then leave trying to the first.
    """

    @property
    def gives_up(self) -> bool:
        """Whether the delays may end."""
        return True

    @abstractmethod
    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        """Return a fresh iterator of delays in seconds, for one acquisition.

        `rng` is where its randomness comes from (default: one generator shared by the process).
        The iterator ends when the waiter shall give up; those of the families never end.
        """

    def take(self, n: int) -> Schedule:
        """Return the schedule of the first `n` delays of this one: n retries, then give up.

        >>> list(Constant(0.5).take(3).delays())
        [0.5, 0.5, 0.5]
        """
        return _Take(self, n)

    def then(self, other: Schedule) -> Schedule:
        """Return a schedule that goes on with `other` where this one ends.

        >>> list(Spin().take(2).then(Constant(1.0).take(2)).delays())
        [0.0, 0.0, 1.0, 1.0]
        """
        return _Then(self, other)

    @staticmethod
    def parse(text: str) -> Schedule:
        """Return the schedule of a text such as ``exponential:initial=0.05,cap=2``.

        For settings and command lines; in code, call the class. The names are those of the classes
        in lower case; fields stand in any order; a range is written ``initial=0..1``; ``take=n`` is
        `take`, and ``then`` between two schedules is `then`. ``str(schedule)`` is such a text and
        is read back as the same schedule; one of your own kind has none, there it is the ``repr``.

        Raises ValueError for a text that is no schedule: it says what is wrong, what could stand
        there, and what comes nearest. It need not be of the class that this is called on.

        >>> Schedule.parse("exponential:initial=0.05,cap=2")
        Exponential(initial=0.05, cap=2.0, jitter=1.0, factor=2.0)
        >>> str(Spin().take(3).then(Linear((0.0, 1.0))))
        'spin:take=3 then linear:initial=0..1'
        >>> Schedule.parse("linear:intial=1")
        Traceback (most recent call last):
        ...
        ValueError: schedule 'linear:intial=1': linear has no field 'intial' (did you mean \
'initial'?); it may have initial, cap, jitter, take
        """
        # Here and not above: that module is built on this one, and most programs need no text.
        from ._schedule_text import parse

        return parse(text)

    def __str__(self) -> str:
        from ._schedule_text import text_of

        try:
            return text_of(self)
        except TypeError:  # of a kind that is not ours: it has no text
            return repr(self)


@dataclass(frozen=True, repr=False)
class _Take(Schedule):
    schedule: Schedule
    n: int

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int):
            raise TypeError(f"n must be a whole number of delays >= 0, not {self.n!r}")
        if not 0 <= self.n <= sys.maxsize:
            raise ValueError(
                f"n must be a whole number of delays >= 0 and <= {sys.maxsize}, not {self.n!r}"
            )

    def __repr__(self) -> str:
        return f"{self.schedule!r}.take({self.n})"

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        return islice(self.schedule.delays(rng), self.n)


@dataclass(frozen=True, repr=False)
class _Then(Schedule):
    first: Schedule
    second: Schedule

    def __post_init__(self) -> None:
        if not isinstance(self.second, Schedule):
            raise TypeError(f"other must be a Schedule, not {self.second!r}")

    def __repr__(self) -> str:
        return f"{self.first!r}.then({self.second!r})"

    @property
    def gives_up(self) -> bool:
        return self.first.gives_up and self.second.gives_up

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        return chain(self.first.delays(rng), self.second.delays(rng))


@dataclass(frozen=True)
class Spin(Schedule):
    """Retry at once, for ever; ``Spin().take(n)`` for a bounded number of retries.

    Formula: delay = 0. A delay of 0 still lets others run once (a turn of the event loop, a switch
    of threads). Source: the spinlock of operating-system textbooks. Use it where the lock is held
    for less time than a nap takes to arm, and never where a waiter may wait for long: it burns a
    core.

    >>> list(Spin().take(3).delays())
    [0.0, 0.0, 0.0]
    """

    @property
    def gives_up(self) -> bool:
        """Whether the delays may end: they never do."""
        return False

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        """Return an endless iterator of zeros."""
        return repeat(0.0)


def _settle(schedule: Schedule, **fields: object) -> None:
    """Write the checked form of the fields into a frozen dataclass under construction."""
    for field, value in fields.items():
        object.__setattr__(schedule, field, value)


def _delay(field: str, value: object) -> float:
    """Return `value` as seconds that can be slept."""
    seconds = duration(field, value)
    if seconds > LONGEST:
        raise ValueError(f"{field} must be within 0 to {LONGEST:g} seconds, not {value!r}")
    return seconds


class _Ranged(Schedule):
    """The schedules with `initial` and `cap`: how these are checked and kept."""

    initial: Span
    cap: Duration | None
    _low: float
    _width: float
    _top: float

    @property
    def gives_up(self) -> bool:
        """Whether the delays may end: they never do."""
        return False

    def _settle_range(self) -> None:
        unit = span("initial", self.initial)
        cap = None if self.cap is None else _delay("cap", self.cap)
        low, high = unit if isinstance(unit, tuple) else (unit, unit)
        top = LONGEST if cap is None else cap
        if high > top:
            raise ValueError(
                f"initial must be within 0 to cap ({top:g} seconds), not {self.initial!r}"
            )
        _settle(self, initial=unit, cap=cap, _low=low, _width=high - low, _top=top)

    def _draw(self, rng: Rng) -> float:
        """Return `initial`, drawn if it is a range."""
        return self._low + self._width * rng.random() if self._width else self._low


@dataclass(frozen=True)
class _Family(_Ranged):
    """The families whose ceilings grow from `initial` by a formula, and never fall."""

    initial: Span
    cap: Duration | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        self._settle_range()
        _settle(self, jitter=number("jitter", self.jitter, 0.0, 1.0))

    @abstractmethod
    def _ceilings(self, initial: float) -> Iterator[float]:
        """Yield the ceilings without the cap; they may reach infinity, and may not end."""

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        """Return an endless iterator of delays in seconds; the class has the formula."""
        rng = _SHARED_RNG if rng is None else rng
        draw, jitter, cap = rng.random, self.jitter, self._top
        initial = self._draw(rng)
        if initial == 0.0:
            yield from repeat(0.0)
        for ceiling in self._ceilings(initial):
            if ceiling >= cap:
                break  # for good: no ceiling is computed that nobody needs
            yield ceiling * (1.0 - jitter * draw())
        while True:
            yield cap * (1.0 - jitter * draw())


@dataclass(frozen=True)
class Constant(_Family):
    """The same delay before every retry; with ``(low, high)``, each contender draws its own once.

    Formula: ceiling = initial. Source: the fixed-interval and the random-interval wait of the lock
    tutorials. Use it to poll something whose hold time you know, and give it a jitter: equal
    intervals keep the contenders that met once meeting for ever.

    >>> list(Constant(1.0).take(3).delays())
    [1.0, 1.0, 1.0]
    >>> import random
    >>> first, second = Constant((0.0, 1.0)).take(2).delays(random.Random(1))
    >>> first == second, 0.0 <= first < 1.0
    (True, True)
    """

    def _ceilings(self, initial: float) -> Iterator[float]:
        return repeat(initial)


@dataclass(frozen=True)
class Linear(_Family):
    """Each delay longer than the last by the same step; the first is 0.

    Formula: ceiling = k * initial before retry k = 0, 1, 2 … Source: the linear back-off of the
    lock tutorials, where a contender draws its step once: ``Linear((0.0, 1.0))``. Use it where
    holds are of one length and the queue is short: its delays add up only quadratically.

    >>> [round(delay, 3) for delay in Linear(0.3).take(11).delays()]
    [0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4, 2.7, 3.0]
    """

    def _ceilings(self, initial: float) -> Iterator[float]:
        return (k * initial for k in count())


@dataclass(frozen=True)
class Quadratic(_Family):
    """The "exponential" back-off of the lock tutorials, which is quadratic; the first delay is 0.

    Formula: ceiling = k**2 * initial before retry k = 0, 1, 2 … Source: tutorials that call
    ``attempt ** 2`` exponential; `Exponential` is the textbook's. Use it to reproduce them, and
    give it a cap: without one, late waiters sleep past a lock that has long been free.

    >>> [round(delay, 3) for delay in Quadratic(0.3).take(11).delays()]
    [0.0, 0.3, 1.2, 2.7, 4.8, 7.5, 10.8, 14.7, 19.2, 24.3, 30.0]
    """

    def _ceilings(self, initial: float) -> Iterator[float]:
        return (k * k * initial for k in count())


@dataclass(frozen=True)
class Polynomial(_Family):
    """Delays that grow as a power of the retry's number; the first is 0 (unless `power` is 0).

    Formula: ceiling = k**power * initial, `power` >= 0 (0 is `Constant`, 1 `Linear`, 2
    `Quadratic`). Source: job queues that retry after about k**4 seconds. Use it between linear and
    exponential, for waits of very different lengths.

    >>> [round(delay, 3) for delay in Polynomial(0.1, power=1.5).take(4).delays()]
    [0.0, 0.1, 0.283, 0.52]
    """

    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _settle(self, power=number("power", self.power, 0.0))

    def _ceilings(self, initial: float) -> Iterator[float]:
        for k in count():
            try:
                yield float(k) ** self.power * initial
            except OverflowError:
                yield math.inf


@dataclass(frozen=True)
class Exponential(_Family):
    """The exponential back-off of the textbooks: a limit that doubles, a random delay below it.

    Formula: ceiling = min(cap, initial * factor**k) before retry k = 0, 1, 2 …, `factor` >= 1; with
    the default jitter of 1 the delay is uniform in (0, ceiling]. It saturates and never computes
    the power, so no k overflows. Source: Metcalfe and Boggs, "Ethernet", CACM 19(7), 1976 (binary
    exponential back-off); Herlihy and Shavit, "The Art of Multiprocessor Programming", chapter 7
    (the back-off lock: minimum, maximum, doubling, random below the limit). Use it where you do not
    know how long the lock is held or how many wait: it finds both within a few tries.

    >>> list(Exponential(0.1, cap=1.0, jitter=0.0).take(6).delays())
    [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    """

    initial: Span = 0.01
    cap: Duration | None = 1.0
    jitter: float = 1.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _settle(self, factor=number("factor", self.factor, 1.0))

    def _ceilings(self, initial: float) -> Iterator[float]:
        return accumulate(repeat(self.factor), mul, initial=initial)


@dataclass(frozen=True)
class Fibonacci(_Family):
    """Delays that grow as the Fibonacci numbers, by about 1.618 a step.

    Formula: ceiling = F(k + 1) * initial, with F = 1, 1, 2, 3, 5 … Source: retry libraries that
    offer it beside the exponential. Use it where doubling overshoots: a nap falls towards
    62 % of the time waited before it, against 100 % for a factor of 2.

    >>> [round(delay, 3) for delay in Fibonacci(0.1, cap=1.0).take(8).delays()]
    [0.1, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.0]
    """

    def _ceilings(self, initial: float) -> Iterator[float]:
        now, after = initial, initial
        while True:
            yield now
            now, after = after, now + after


@dataclass(frozen=True)
class Decorrelated(_Ranged):
    """Random delays, each drawn from a range that depends on the one before.

    Formula: delay = uniform(initial, min(cap, factor * previous)), where previous starts as
    `initial`, and `factor` >= 1. Source: M. Brooker, "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015; there the draw is clamped at the cap, here the range is, so that
    waiters do not pile up at the cap. Use it as `Exponential`, where a lower bound on the delay
    matters: it never sleeps less than `initial`.

    >>> import random
    >>> delays = list(Decorrelated(0.1, cap=1.0).take(50).delays(random.Random(7)))
    >>> min(delays) >= 0.1, max(delays) <= 1.0
    (True, True)
    """

    initial: Span = 0.01
    cap: Duration | None = 1.0
    factor: float = 3.0

    def __post_init__(self) -> None:
        self._settle_range()
        _settle(self, factor=number("factor", self.factor, 1.0))

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        """Return an endless iterator of delays in seconds; the class has the formula."""
        rng = _SHARED_RNG if rng is None else rng
        initial = self._draw(rng)
        delay = initial
        while True:
            delay = initial + (min(self._top, self.factor * delay) - initial) * rng.random()
            yield delay


@dataclass(frozen=True)
class Sequence(Schedule):
    """The delays you list, in order; then it gives up.

    Formula: ceiling = seconds[k]. Use it to replay a schedule, in tests, or with `then`.

    >>> list(Sequence((0.1, 0.5)).then(Constant(1.0)).take(4).delays())
    [0.1, 0.5, 1.0, 1.0]
    """

    seconds: Iterable[Duration]
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.seconds, str | bytes) or not isinstance(self.seconds, Iterable):
            raise TypeError(f"seconds must be an iterable of durations, not {self.seconds!r}")
        seconds = tuple(_delay(f"seconds[{k}]", value) for k, value in enumerate(self.seconds))
        _settle(self, seconds=seconds, jitter=number("jitter", self.jitter, 0.0, 1.0))

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        """Return an iterator over the delays in seconds."""
        draw = (_SHARED_RNG if rng is None else rng).random
        for ceiling in cast("tuple[float, ...]", self.seconds):
            yield ceiling * (1.0 - self.jitter * draw())


DEFAULT_SCHEDULE = Constant(0.032, jitter=0.5)
"""The schedule of a lock that is given none and whose releases wake the next waiter.

Such a nap is a safety net, for a wake-up that was lost or went to a loop that is blocked: 16 to 32
ms keep the waiter behind that loop within two naps and the grace, 74 ms, and cost a lone waiter
some 40 tries a second. An earlier first try gains nothing and costs: beginning at 1 ms, 32 threads
that hold the lock for 200 us spent 1.6 times the CPU of `threading.Lock` an acquisition and reached
0.96 of its throughput, beginning at 30 ms 1.2 times and 1.00 (medians of 15 rounds of the workload
threads/32/io of ``python -m benchmarks``).
"""

POLLING_SCHEDULE = Exponential(initial=0.001, cap=0.032, jitter=0.5)
"""The schedule of a lock that is given none where nobody wakes a waiter: ``over`` a foreign lock,
and with ``wake_on_release=False``.

A millisecond is what an event loop's timer resolves; the cap is that of `DEFAULT_SCHEDULE`.
"""

FLEET_SCHEDULE = Exponential(initial=0.01, cap=0.5, jitter=0.5)
"""The schedule of a distributed lock that is given none: nobody wakes a waiter of another process.

One waiter of a process asks, so N processes that wait cost their server about 2.7 N commands a
second, and a free lock stands idle for half a second at the most, where nobody waits in the process
that released it.
"""
