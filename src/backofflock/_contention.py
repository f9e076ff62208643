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

A waiter's fields, which others read and only it writes (`woken` and `promise` apart, which a waker
writes too):

=============  ====================================================================
``since``      when it joined
``promise``    when it will try next, at the latest; renewed by each nap and wake-up
``woken``      a wake-up is on its way; cleared just before the try that answers it
``ticket``     number in order of joining, for the distance from the front
``attempt``    number of the try it is at, from 1
``deadline``   when it gives up, or None
=============  ====================================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import count

from ._key import KEY, Key
from .errors import AcquireTimeout
from .records import WaitDetails
from .schedules import LONGEST

__all__ = ["GRACE", "Contention", "Waiter"]

GRACE = 0.010
"""Seconds by which a waiter may be late for its promise before others pass it over."""


class Waiter(ABC):
    """One acquisition that waits; the hosts say how it naps, is woken and tells the time."""

    __slots__ = ("attempt", "deadline", "promise", "since", "ticket", "woken")

    clock: Callable[[], float]
    """Returns monotonic seconds, comparable between all waiters of a lock."""

    attempt: int
    since: float
    promise: float
    deadline: float | None
    ticket: int
    woken: bool

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the task or thread that waits."""

    @abstractmethod
    def wake(self) -> bool:
        """End its nap, from any thread; return False if it can never run again."""


Check = Callable[[Waiter, float], None]
"""Called after each failed try with the waiter and the time; raises to end the wait."""

Observer = Callable[[WaitDetails], object]


class Contention:
    """The state of one lock, and what may be done to it."""

    __slots__ = (
        "cancellations",
        "contended",
        "fair_after",
        "key",
        "label",
        "longest_wait",
        "next_ticket",
        "queue",
        "timeouts",
        "total_wait",
        "tries",
        "wake_on_release",
        "wakeups",
    )

    def __init__(
        self, key: Key, label: str, *, fair_after: float | None, wake_on_release: bool
    ) -> None:
        self.key = key
        self.label = label
        self.queue: deque[Waiter] = deque()
        self.fair_after = fair_after
        self.wake_on_release = wake_on_release
        self.next_ticket = count().__next__
        # Counted by whoever has the key, so exactly; those below by anybody, so nearly.
        self.contended = 0
        self.total_wait = 0.0
        self.longest_wait = 0.0
        self.tries = 0
        self.wakeups = 0
        self.timeouts = 0
        self.cancellations = 0

    def try_take(self, waiter: Waiter | None, now: float) -> bool:
        """Take the key unless it is taken or left to another; `waiter` is None for a newcomer."""
        if not self.key:
            return False
        if self.queue and self._left_to_another(waiter, now):
            # Is nobody on the way to it? Then its wake-up was lost, or has gone stale.
            self.wake_next(now)
            return False
        try:
            del self.key[0]
        except IndexError:
            return False
        return True

    def wake_next(self, now: float) -> None:
        """Wake the waiter whose turn it is, unless it is on its way already.

        Called by whoever leaves the key free, after the key is back: a waiter tries again after
        joining, so either it sees the key or its waker sees it.
        """
        while self.wake_on_release:
            waiter = self._next(now)
            if waiter is None or waiter.woken:
                return
            waiter.woken = True
            waiter.promise = now
            if waiter.wake():
                self.wakeups += 1
                return
            self._drop(waiter)  # its loop is closed

    def contend(
        self,
        waiter: Waiter,
        delays: Iterator[float],
        *,
        timeout: float | None,
        max_attempts: int | None,
        check: Check,
        observe: Observer | None,
    ) -> Generator[float, None, None]:
        """Queue until the key is taken: the policy of every waiter.

        Yields seconds to nap; a wake-up may end the nap early. Returns when the waiter has the key.
        Raises `AcquireTimeout` at a limit, and whatever `check` or `observe` raise. However it ends
        (``close()`` for a cancelled waiter) the waiter has left the queue, and without the key
        unless the generator returned.
        """
        clock, queue = waiter.clock, self.queue
        now = waiter.since = waiter.promise = clock()
        waiter.deadline = None if timeout is None else now + timeout
        waiter.woken = False
        waiter.ticket = self.next_ticket()
        waiter.attempt = 1
        taken = False
        try:
            queue.append(waiter)
            # The try after joining belongs to attempt 1: a release may have come in between.
            while not (taken := self.try_take(waiter, now)):
                check(waiter, now)
                delay = self._next_delay(waiter, delays, now, timeout, max_attempts)
                waiter.promise = now + delay
                if observe is not None:
                    observe(self._details(waiter, delay, now))
                    delay = self.promise_anew(waiter, delay)  # it may have taken its time
                yield delay
                waiter.attempt += 1
                now = waiter.promise = clock()
                waiter.woken = False  # before the try: a release from here on wakes anew
            self._drop(waiter)
            self.contended += 1
            self.tries += waiter.attempt
            waited = now - waiter.since
            self.total_wait += waited
            if waited > self.longest_wait:
                self.longest_wait = waited
        except BaseException as error:
            if taken:  # interrupted between taking the key and saying so
                self.key.append(KEY)
            self._leave(waiter)
            self.tries += waiter.attempt
            if isinstance(error, AcquireTimeout):
                self.timeouts += 1
            else:
                self.cancellations += 1
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
        if waiter.deadline is not None:
            delay = max(0.0, min(delay, waiter.deadline - now))
        waiter.promise = now + delay
        return delay

    def _left_to_another(self, waiter: Waiter | None, now: float) -> bool:
        """Return whether a free key is reserved for a waiter other than `waiter`."""
        fair_after = self.fair_after
        if fair_after is None:
            return False
        try:
            first = self.queue[0]
        except IndexError:  # the last one has just left
            return False
        # Those behind the first have waited less: before it is its turn it is nobody's.
        if first is waiter or now - first.since < fair_after:
            return False
        keeper = self._keeper(now)
        return keeper is not None and keeper is not waiter and now - keeper.since >= fair_after

    def _next(self, now: float) -> Waiter | None:
        """Return the waiter to wake: the first that keeps its promises, else the first asleep.

        A waiter that is late although nobody woke it may be on a loop that its holder kept busy; a
        wake-up renews its promise, so that the holder cannot overtake it again and again.
        """
        try:
            first = self.queue[0]
        except IndexError:
            return None
        if first.promise >= now - GRACE:
            return first
        return self._keeper(now) or self._first_unwoken()

    def _keeper(self, now: float) -> Waiter | None:
        """Return the first waiter that is not late for its promise."""
        queue, oldest, place = self.queue, now - GRACE, 0
        try:
            while (waiter := queue[place]).promise < oldest:
                place += 1
        except IndexError:
            return None
        return waiter

    def _first_unwoken(self) -> Waiter | None:
        """Return the first waiter that has no wake-up on its way."""
        queue, place = self.queue, 0
        try:
            while (waiter := queue[place]).woken:
                place += 1
        except IndexError:
            return None
        return waiter

    def _next_delay(
        self,
        waiter: Waiter,
        delays: Iterator[float],
        now: float,
        timeout: float | None,
        max_attempts: int | None,
    ) -> float:
        """Return the seconds to nap, or raise AcquireTimeout at a limit."""
        deadline = waiter.deadline
        if max_attempts is not None and waiter.attempt >= max_attempts:
            reason = f"max_attempts={max_attempts}"
        elif deadline is not None and now >= deadline:
            reason = f"timeout={timeout}"
        elif (delay := next(delays, None)) is None:
            reason = "the schedule is exhausted"
        elif not 0.0 <= delay <= LONGEST:  # NaN too: it would nap for ever
            raise ValueError(
                f"the schedule of lock {self.label!r} gave a delay of {delay!r} seconds; "
                f"allowed is 0 to {LONGEST:g}"
            )
        else:
            if self.fair_after is not None:
                # Behind others, and with the key reserved for them, waking early is of no use.
                delay *= 1 + self.ahead_of(waiter)
            return delay if deadline is None else min(delay, deadline - now)
        raise AcquireTimeout(self.label, waiter.attempt, now - waiter.since, reason)

    def ahead_of(self, waiter: Waiter) -> int:
        """Return how many waiters stand before `waiter`: by its ticket, so at the most."""
        try:
            ahead = waiter.ticket - self.queue[0].ticket
        except IndexError:
            return 0
        most = len(self.queue) - 1
        return most if ahead > most else max(0, ahead)

    def _details(self, waiter: Waiter, delay: float, now: float) -> WaitDetails:
        deadline = waiter.deadline
        return WaitDetails(
            lock=self.label,
            waiter=waiter.name,
            attempt=waiter.attempt,
            delay=delay,
            waited=now - waiter.since,
            remaining=None if deadline is None else deadline - now,
            ahead=self.ahead_of(waiter),
        )

    def _leave(self, waiter: Waiter) -> None:
        self._drop(waiter)
        if self.queue and self.key:
            self.wake_next(waiter.clock())

    def _drop(self, waiter: Waiter) -> None:
        try:
            self.queue.remove(waiter)
        except ValueError:  # dropped by others already, its loop being closed
            pass

    def reinit_after_fork(self) -> None:
        """Forget all waiters: in a forked child their threads do not exist."""
        self.queue.clear()
