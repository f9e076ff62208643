"""What a distributed lock does between its requests: two generators that neither sleep nor send.

They yield what is to be done next, an `Ask` or a `Nap`, and are sent the answer of the backend or
thrown its error. Tasks and threads do it, each in their way; tests play the backend. So there is
one policy for all of them, as with the lock of one process.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, TypeAlias

from .._contention import Limits, Observer, delay_after
from .._naps import NAPS
from ..errors import AcquireTimeout, BackendUnavailable
from ..leases import Busy, Grant, Lease, clock
from ..records import WaitDetails
from ..schedules import LONGEST, Exponential, Rng, Schedule

__all__ = ["DAY", "TAKEN", "Ask", "Nap", "Pursuit", "Steps", "keep", "keeping_begins_in"]

logger = logging.getLogger("backofflock")

LAST_TRY = 1.0
"""Seconds that a request may take which is sent at the deadline: less would make it one in vain."""

TAKEN = "another has it, or its key was deleted"
"""Why a lease ended that the backend says is not held any more."""

RENEWAL_RETRIES = Exponential(initial=0.05, cap=1.0, jitter=0.5)
"""Delays between renewals while the backend does not answer."""


@dataclass(slots=True)
class Ask:
    """Send a request to the backend; it counts as unanswered after `within` seconds."""

    call: Literal["try_acquire", "renew"]
    within: float


@dataclass(slots=True)
class Nap:
    """Let so many seconds pass."""

    seconds: float


Steps: TypeAlias = Generator[Ask | Nap, Any, Any]


@dataclass(slots=True)
class Pursuit:
    """One acquisition, from its first request to its lease. Its `steps` return that."""

    name: str
    token: str
    waiter: str
    ttl: float
    request_timeout: float
    schedule: Schedule
    rng: Rng | None
    limits: Limits
    since: float
    observe: Observer | None
    cede: float
    """Seconds to nap before the first try: others had no chance for a while."""
    failure: BackendUnavailable | None = None
    """What became of the last request, if it was not answered: at first that of the one before."""
    attempt: int = 0
    """Requests to acquire so far."""
    unanswered: int = 0
    """How many of them were not answered."""
    met_others: bool = False
    """Whether another was seen to have the lock."""

    @property
    def _deadline(self) -> float:
        timeout = self.limits[0]
        return inf if timeout is None else self.since + timeout

    def within(self, now: float) -> float:
        """Return the seconds that a request may take which is sent now."""
        return min(self.request_timeout, max(self._deadline - now, LAST_TRY))

    def steps(self) -> Generator[Ask | Nap, Any, Lease]:
        """Try, back off and try again.

        Raises `AcquireTimeout` at a limit, with `BackendUnavailable` as its cause if the last
        request was not answered. Whenever no lease is returned the token has to be released: a
        request whose answer nobody saw may have been carried out.
        """
        delays = self.schedule.delays(self.rng)
        deadline = self._deadline
        if self.cede:
            left = deadline - clock()
            yield Nap(NAPS.slept(max(0.0, min(self.cede, left))))
            if self.cede > left:  # so long the lock is left to others, whoever is in a hurry here
                waited = clock() - self.since
                error = AcquireTimeout(self.name, 0, waited, f"timeout={self.limits[0]}")
                raise error from self.failure
        while True:
            self.attempt += 1
            asked = clock()
            within = min(self.within(asked), self.ttl)
            retry_after = 0.0
            try:
                answer: Grant | Busy = yield Ask("try_acquire", within)
            except BackendUnavailable as error:
                self.failure = error
                if not self.unanswered:
                    logger.warning("lock %r: %s; trying again", self.name, error)
                self.unanswered += 1
            else:
                self.failure = None
                if isinstance(answer, Grant):
                    lease = Lease(
                        self.name, self.token, answer.fence, answer.ttl, asked, answer.last
                    )
                    if not lease.lost.is_set():
                        return lease
                    # The answer came later than the lease ends. It is no lease; see what is next.
                else:
                    retry_after, self.met_others = answer.retry_after, True
            now = clock()
            try:
                delay = delay_after(
                    self.name, delays, self.limits, self.attempt, now - self.since, now >= deadline
                )
            except AcquireTimeout as error:
                raise error from self.failure
            delay = min(max(delay, retry_after), LONGEST)
            if self.observe is not None:
                self.observe(self._details(max(0.0, min(delay, deadline - now)), now, deadline))
                now = clock()  # it may have taken its time
            yield Nap(NAPS.slept(max(0.0, min(delay, deadline - now))))

    def _details(self, delay: float, now: float, deadline: float) -> WaitDetails:
        return WaitDetails(
            lock=self.name,
            waiter=self.waiter,
            attempt=self.attempt,
            delay=delay,
            waited=now - self.since,
            remaining=None if deadline == inf else deadline - now,
            ahead=0,
        )


DAY = 86400.0
"""Seconds of the longest nap: event loops know no endless ones."""


def keep(
    lease: Lease,
    ttl: float,
    request_timeout: float,
    until: float = inf,
    rng: Rng | None = None,
    now: Callable[[], float] = clock,
) -> Generator[Ask | Nap, Any, str]:
    """Renew a lease at a jittered third of `ttl` while that goes well; return what ended it.

    A lease that was handed over is due when it would have been before. `until` is the time of the
    last renewal: 0 for none at all. The lease ends at its deadline, which each renewal that is
    answered sets to `ttl` after it was sent.
    """
    draw = (random if rng is None else rng).random
    lost = lease.lost
    ttl = min(ttl, lease.ttl)  # the backend may have given less
    delay, retries = max(0.0, _interval(ttl, draw) - (now() - lease.renewed)), None
    while True:
        left = max(0.0, lost.deadline - now())
        if now() >= until:
            delay = inf
        yield Nap(min(delay, left, DAY))
        asked = now()
        if asked >= lost.deadline:
            return lost.reason
        if asked >= until:
            continue
        try:
            # Not all that is left: an answer that is lost shall not cost the lease.
            held = yield Ask("renew", min(request_timeout, (lost.deadline - asked) / 2))
        except BackendUnavailable as error:
            if retries is None:
                logger.warning("lock %r: %s; trying again", lease.name, error)
                retries = RENEWAL_RETRIES.delays(rng)
            lost.failure = error
            delay = next(retries)
            continue
        if not held:
            return TAKEN
        if now() >= lost.deadline:
            return lost.reason  # others may have seen it end
        lease.renewed, lost.deadline = asked, asked + lease.ttl
        lost.failure = None
        delay, retries = _interval(ttl, draw), None


def _interval(ttl: float, draw: Callable[[], float]) -> float:
    return ttl / 3 * (1.0 - 0.25 * draw())


def keeping_begins_in(
    lease: Lease, ttl: float, until: float, now: Callable[[], float] = clock
) -> float:
    """Return the seconds for which `keep` would do nothing but nap: nobody needs it before."""
    began, end = now(), lease.lost.deadline
    due = end if began >= until else min(lease.renewed + min(ttl, lease.ttl) / 4, end)
    return min(max(0.0, due - began), DAY)
