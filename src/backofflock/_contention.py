"""The contention machine: the key, the wait queue and the one policy of waiting.

Nothing here sleeps, reads a clock of its own or knows an event loop. What a waiter does between "it
is taken" and "I have it" is one plain generator, `Contention.contend`: it yields the seconds to nap
and returns once the key is taken. Tasks drive it with ``await nap(seconds)``, threads with
``nap(seconds)``.

What holds, always:

- Exclusion rests on the key alone. The queue, reservations and wake-ups are advice: each may be
  late, lost or wrong, and the lock stays correct and keeps moving.
- Every change of shared state is one atomic operation of a deque, or the write of one field; there
  is no mutex. So a signal handler or finalizer may use the lock in the middle of anything here.
- A waiter stands in the queue from its joining until it has the key or leaves, in order of arrival.
- Nothing is handed to a waiter: one that is cancelled or dies has nothing to lose or give back.
- The first in the queue tries again and again. Who joins behind another may rest until its turn: it
  is woken by whoever leaves the key free, and by one before it that gives up. Should that be lost,
  its rest ends by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import count
from typing import ClassVar, TypeAlias

from ._key import KEY, Key
from ._naps import NAPS
from ._waiter import NEVER, REST, Waiter
from .errors import AcquireTimeout
from .records import WaitDetails
from .schedules import LONGEST, Rng, Schedule

__all__ = ["GRACE", "Check", "Contention", "Limits", "Observer", "delay_after"]

GRACE = 0.010
"""Seconds by which a waiter may be late for its promise before others pass it over.

So long a loop that is blocked holds the others up. Less takes threads for dead that only wait for
the GIL, whose switch interval is 5 ms: with 1, 3, 10 and 30 ms 32 threads with an empty section had
the lock 344, 431, 470 and 545 thousand times a second, 8 threads that compute for 20 us 20, 22, 22
and 23 thousand times; 4 threads and 4 tasks that hold it for 1 ms made no difference (medians of
5 rounds on CPython 3.12). To see it again: ``python -m benchmarks --only '*grace=*' --only
ThreadBackoffLock --only threads/32/empty --only threads/8/cpu --only mixed/4+4/1ms``.
"""

Check = Callable[[Waiter, float], None]
"""Called after each failed try with the waiter and the time; raises to end the wait."""

Observer = Callable[[WaitDetails], object]

Limits = tuple[float | None, int | None]
"""A waiter's timeout in seconds, and its most tries; None is no limit."""

Tell: TypeAlias = "Callable[[Contention, Waiter, float, BaseException | None], None]"
"""Called when a wait has ended, with its seconds and with what ended it, None for the key."""


class Contention:
    """The state of one lock, and what may be done to it."""

    __slots__ = (
        "cancellations",
        "check",
        "contended",
        "face",
        "grace",
        "held_since",
        "key",
        "label",
        "last_strict",
        "lets_rest",
        "longest_wait",
        "name",
        "next_ticket",
        "queue",
        "rng",
        "schedule",
        "timeouts",
        "total_wait",
        "tries",
        "wake_on_release",
        "wakeups",
    )

    tell: ClassVar[Tell | None] = None
    """Set while somebody listens, see `_instrument`."""

    def __init__(
        self,
        key: Key,
        label: str,
        schedule: Schedule,
        *,
        rng: Rng | None = None,
        wake_on_release: bool = True,
        check: Check | None = None,
        name: str | None = None,
        face: str | None = None,
    ) -> None:
        self.key = key
        self.label = label
        self.name = name
        self.face = face  # None: listeners are not told of it
        self.held_since = -NEVER  # known only if somebody listened when the key was taken
        self.schedule = schedule
        self.rng = rng
        self.wake_on_release = wake_on_release
        self.check = check
        self.grace = GRACE
        self.lets_rest = wake_on_release and not schedule.gives_up
        self.queue: deque[Waiter] = deque()
        self.next_ticket = count().__next__
        self.last_strict = -1
        # Counted by whoever has the key, so exactly; those below by anybody, so nearly.
        self.contended = 0
        self.total_wait = 0.0
        self.longest_wait = 0.0
        self.tries = 0
        self.wakeups = 0
        self.timeouts = 0
        self.cancellations = 0

    def try_take(self, waiter: Waiter | None, now: float | None, window: float) -> bool:
        """Take the key unless it is taken or left to another; `waiter` is None for a newcomer.

        `now` is None for the time of the first waiter, which a test may have run in its own time.
        The first waiter may be overtaken while it has waited for less than its window and less than
        `window`, that of whoever asks.
        """
        if not self.key:
            return False
        if self.queue:
            try:
                first = self.queue[0]
                if first is not waiter:
                    if now is None:
                        now = first.clock()
                    # Those behind it have waited less: before it is due, the key is nobody's.
                    waited = now - first.since
                    if (
                        waited >= window
                        or waited >= first.window
                        or first.ticket <= self.last_strict
                    ) and self._left_to_another(first, waiter, now, window):
                        return False
            except IndexError:  # they have left just now
                pass
        try:
            del self.key[0]
        except IndexError:
            return False
        return True

    def wake_next(self, now: float | None = None) -> None:
        """Wake the waiter whose turn it is, unless it is on its way already; `now`: as there.

        Called by whoever leaves the key free, after the key is back: a waiter tries again after
        joining, so either it sees the key or its waker sees it.
        """
        while self.wake_on_release:
            try:
                waiter: Waiter | None = self.queue[0]
            except IndexError:
                return
            assert waiter is not None
            if now is None:
                now = waiter.clock()
            oldest = now - self.grace
            if waiter.woken_at < oldest or waiter.pledge.promise < oldest:
                if waiter.gone():
                    self._drop(waiter)  # its loop was closed, with or without a wake-up on its way
                    continue
                # The first is late. If nobody woke it, it may be on a loop that its holder kept
                # busy; then a wake-up renews its promise, so that the holder cannot overtake it
                # again and again.
                waiter = self._keeper(now) or self._first_unwoken()
                if waiter is None:
                    return
            if waiter.woken_at != NEVER:
                return
            waiter.woken_at = now
            pledge = waiter.pledge
            if pledge.promise < now:
                pledge.promise = now
            if waiter.wake():
                self.wakeups += 1
                return
            self._drop(waiter)  # its loop is closed

    def contend(
        self, waiter: Waiter, limits: Limits, observe: Observer | None
    ) -> Generator[float, None, None]:
        """Queue until the key is taken: the policy of every waiter.

        Yields seconds to nap (infinity for a rest that its host watches); a wake-up may end the nap
        early. Returns when the waiter has the key. Raises `AcquireTimeout` at a limit, and whatever
        `check` or `observe` raise. However it ends (``close()`` for a cancelled waiter) the waiter
        has left the queue, and without the key unless the generator returned.
        """
        now = waiter.since = waiter.clock()
        waiter.deadline = NEVER if limits[0] is None else now + limits[0]
        waiter.woken_at = NEVER
        waiter.attempt = 1
        waiter.resting = (
            self.lets_rest
            and len(self.queue) > 0
            and limits[1] is None
            and observe is None
            and waiter.window != NEVER
            and not NAPS.skipping
        )
        waiter.ticket = self.next_ticket()
        if waiter.window == 0.0:
            self.last_strict = waiter.ticket
        delays: Iterator[float] | None = None
        taken = False
        try:
            self.queue.append(waiter)
            # The try after joining belongs to attempt 1: a release may have come in between.
            while not (taken := self.try_take(waiter, now, waiter.window)):
                if self.check is not None:
                    self.check(waiter, now)
                if waiter.resting and now < waiter.deadline:
                    if waiter.is_watched:
                        # Without a deadline no float for each that rests.
                        yield NEVER if waiter.deadline == NEVER else waiter.deadline - now
                    else:  # it has just joined, so that the length of the queue is its place
                        waiter.pledge.promise = min(len(self.queue) * REST + now, waiter.deadline)
                        yield waiter.pledge.promise - now
                    waiter.resting = False  # for good: whoever ends the rest leaves the tries to it
                else:
                    if delays is None:
                        delays = self.schedule.delays(self.rng)
                    yield self._nap(waiter, delays, now, limits, observe)
                waiter.attempt += 1
                now = waiter.clock()
                waiter.woken_at = NEVER  # before the try: a release from here on wakes anew
            self._drop(waiter)
            self.contended += 1
            self.tries += waiter.attempt
            now -= waiter.since
            self.total_wait += now
            if now > self.longest_wait:
                self.longest_wait = now
            if (tell := self.tell) is not None:
                tell(waiter, now, None)
        except BaseException as error:
            if taken:  # interrupted between taking the key and saying so
                self.key.append(KEY)
            self._leave(waiter)
            self.tries += waiter.attempt
            if isinstance(error, AcquireTimeout):
                self.timeouts += 1
            else:
                self.cancellations += 1
            if (tell := self.tell) is not None:
                tell(waiter, waiter.clock() - waiter.since, error)
            raise

    def abandon(self, policy: Generator[float, None, None], waiter: Waiter) -> None:
        """Close the policy of a waiter that has been interrupted, and see that it has left.

        CPython looks for signals at the jump back of a loop too, and leaves that jump outside of
        the "try" around the loop; so the policy may have been ended there with nothing tidied up.
        """
        policy.close()
        self._leave(waiter)

    def promise_anew(self, waiter: Waiter, delay: float) -> float:
        """Return `delay` clipped to the deadline, for a nap that begins some time after it."""
        now = waiter.clock()
        delay = max(0.0, min(delay, waiter.deadline - now))
        waiter.promise(now + delay)
        return delay

    def _left_to_another(
        self, first: Waiter, waiter: Waiter | None, now: float, window: float
    ) -> bool:
        """Return whether the free key is reserved for one before `waiter`, and see it woken."""
        oldest = now - self.grace
        if first.woken_at < oldest or first.pledge.promise < oldest:  # the first is late
            keeper = self._keeper(now)
            if keeper is None or keeper is waiter:
                return False
            waited = now - keeper.since
            if waited < window and waited < keeper.window:
                return False
        elif first.woken_at != NEVER:
            return True  # on its way
        # Is nobody on the way to it? Then its wake-up was lost, or has gone stale.
        self.wake_next(now)
        return True

    def _keeper(self, now: float) -> Waiter | None:
        """Return the first waiter that is not late for its promise or to answer its wake-up."""
        queue, oldest, place = self.queue, now - self.grace, 0
        try:
            while (waiter := queue[place]).woken_at < oldest or waiter.pledge.promise < oldest:
                place += 1
        except IndexError:
            return None
        return waiter

    def _first_unwoken(self) -> Waiter | None:
        """Return the first waiter that has no wake-up on its way."""
        queue, place = self.queue, 0
        try:
            while (waiter := queue[place]).woken_at != NEVER:
                place += 1
        except IndexError:
            return None
        return waiter

    def _nap(
        self,
        waiter: Waiter,
        delays: Iterator[float],
        now: float,
        limits: Limits,
        observe: Observer | None,
    ) -> float:
        """Return the seconds to nap, promised and announced; raise AcquireTimeout at a limit."""
        delay = self._next_delay(waiter, delays, now, limits)
        slept = NAPS.slept(delay)
        waiter.promise(now + slept)
        if observe is None:
            return slept
        observe(self._details(waiter, delay, now))
        return self.promise_anew(waiter, slept)  # it may have taken its time

    def _next_delay(
        self, waiter: Waiter, delays: Iterator[float], now: float, limits: Limits
    ) -> float:
        """Return the seconds to nap, or raise AcquireTimeout at a limit."""
        waited, left = now - waiter.since, waiter.deadline - now
        delay = delay_after(self.label, delays, limits, waiter.attempt, waited, left <= 0.0)
        if waiter.window != NEVER:
            # Behind others, and with the key reserved for them, waking early is of no use.
            delay *= 1 + self.ahead_of(waiter)
        return min(delay, left)

    def ahead_of(self, waiter: Waiter) -> int:
        """Return how many waiters stand before `waiter`: by its ticket, so at the most."""
        try:
            ahead = waiter.ticket - self.queue[0].ticket
        except IndexError:
            return 0
        return max(0, min(ahead, len(self.queue) - 1))

    def _details(self, waiter: Waiter, delay: float, now: float) -> WaitDetails:
        left = waiter.deadline - now
        return WaitDetails(
            lock=self.label,
            waiter=waiter.name,
            attempt=waiter.attempt,
            delay=delay,
            waited=now - waiter.since,
            remaining=None if left == NEVER else left,
            ahead=self.ahead_of(waiter),
        )

    def _leave(self, waiter: Waiter) -> None:
        joined = self._drop(waiter)  # interrupted early it never joined, and has no ticket yet
        if not self.queue:
            return
        if self.key:
            self.wake_next(waiter.clock())
        elif joined and not waiter.resting:
            self._end_rest()

    def _end_rest(self) -> None:
        """End the rest of the first: whoever tried in its place has given up."""
        try:
            while (first := self.queue[0]).resting and not first.wake():
                self._drop(first)  # its loop is closed
        except IndexError:
            pass

    def _drop(self, waiter: Waiter) -> bool:
        """Take `waiter` out of the queue; return False if it is not in it."""
        try:
            self.queue.remove(waiter)
        except ValueError:  # dropped by others, its loop being closed
            return False
        return True

    def reinit_after_fork(self) -> None:
        """Forget all waiters and the holder: in a forked child their threads do not exist."""
        self.queue.clear()
        self.held_since = -NEVER


def delay_after(
    label: str,
    delays: Iterator[float],
    limits: Limits,
    attempt: int,
    waited: float,
    is_late: bool,
) -> float:
    """Return the delay after a failed try, or raise `AcquireTimeout`: it was the last.

    `is_late`: the deadline that follows from the timeout has passed.
    """
    timeout, max_attempts = limits
    if max_attempts is not None and attempt >= max_attempts:
        reason = f"max_attempts={max_attempts}"
    elif is_late:
        reason = f"timeout={timeout}"
    elif (delay := next(delays, None)) is None:
        reason = "the schedule is exhausted"
    elif not 0.0 <= delay <= LONGEST:  # NaN too: it would nap for ever
        raise ValueError(
            f"the schedule of lock {label!r} gave a delay of {delay!r} seconds; "
            f"allowed is 0 to {LONGEST:g}"
        )
    else:
        return delay
    raise AcquireTimeout(label, attempt, waited, reason)
