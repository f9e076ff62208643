"""What both distributed faces share: construction, and what can be asked of a lock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import Any, NoReturn

from .._checks import Duration, duration
from .._contention import Limits
from .._face import DEFAULT, Default, chosen_limits, refuse_unfit
from .._instrument import tell_hold, tell_wait
from .._observers import observer
from ..backends import connect
from ..errors import AcquireTimeout
from ..events import Outcome
from ..leases import AsyncBackend, Backend, Lease, clock
from ..records import LeaseStatistics, WaitDetails
from ..schedules import FLEET_SCHEDULE, Rng, Schedule
from ._gate import Gate, gate_of
from ._keepers import Keeper
from ._policy import TAKEN, Pursuit, Steps, keep, keeping_begins_in

__all__ = [
    "CLEANUP",
    "DEFAULT",
    "RELEASED",
    "Default",
    "DistributedFace",
    "at_gate",
    "goes_first",
]


logger = logging.getLogger("backofflock")

CLEANUP = 1.0
"""Seconds for which a waiter that was cancelled, or gave up, goes on to release its token."""

RELEASED = "it was released"
"""Why a lease ended that was not lost."""

INTERRUPTED = "its acquire was interrupted"
"""Why a lease ended that nobody got to see."""


class DistributedFace:
    """A lock that processes share through a backend; the base of both faces."""

    def __init__(
        self,
        name: str,
        backend: Backend | AsyncBackend | str,
        *,
        ttl: Duration = 30.0,
        renewal: bool | Duration = True,
        schedule: Schedule = FLEET_SCHEDULE,
        timeout: Duration | None = None,
        max_attempts: int | None = None,
        request_timeout: Duration = 5.0,
        on_wait: Callable[[WaitDetails], object] | None = None,
        rng: Rng | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {name!r}")
        if not name:
            raise ValueError("name must not be empty: it is what all processes know the lock by")
        if isinstance(backend, str):
            backend = connect(backend)
        for call in ("try_acquire", "renew", "release"):
            if not callable(getattr(backend, call, None)):
                raise TypeError(
                    "backend must be a URL such as 'file:///var/lock/jobs', or have try_acquire(), "
                    f"renew() and release(), see backofflock.leases; not {type(backend).__name__}"
                )
        self._refuse_unfit(backend)
        refuse_unfit(schedule, on_wait, rng)
        self._name = name
        self._backend = backend
        self._calls: dict[str, AsyncBackend] = {}
        """The backend's for tasks, by what runs these."""
        self._ttl = _positive("ttl", ttl)
        self._request_timeout = _positive("request_timeout", request_timeout)
        self._renewed_for = _renewed_for(renewal)
        self._schedule = schedule
        self._default_limits = chosen_limits((None, None), timeout, max_attempts)
        self._on_wait = on_wait
        self._rng = rng
        self._gate: Gate = gate_of(backend, name)
        # Counted by whoever has passed the gate, so exactly; those below by anybody, so nearly.
        self._acquired = 0
        self._contended = 0
        self._attempts = 0
        self._unanswered = 0
        self._handed_over = 0
        self._lost = 0
        self._total_wait = 0.0
        self._longest_wait = 0.0
        self._timeouts = 0
        self._cancellations = 0

    @property
    def name(self) -> str:
        """The name that all processes know the lock by."""
        return self._name

    @property
    def lease(self) -> Lease | None:
        """The lease that this process has of the lock, whichever task or thread holds it."""
        return self._gate.lease

    def locked(self) -> bool:
        """Return whether this process has the lock; of others only an acquire can tell."""
        return self._gate.lease is not None

    def statistics(self) -> LeaseStatistics:
        """Return a snapshot of the lock and what it has cost; see `LeaseStatistics`."""
        local = self._gate.statistics()
        return LeaseStatistics(
            locked=local.locked,
            tasks_waiting=local.tasks_waiting,
            acquired=self._acquired,
            contended=self._contended,
            attempts=self._attempts,
            handed_over=self._handed_over,
            unanswered=self._unanswered,
            lost=self._lost,
            timeouts=self._timeouts,
            cancellations=self._cancellations,
            total_wait=self._total_wait,
            longest_wait=self._longest_wait,
        )

    def __repr__(self) -> str:
        kind = type(self)
        return f"<{kind.__module__}.{kind.__qualname__} {self._name!r} at {self._backend}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle or copy a {type(self).__name__}: its waiters live here")

    def _refuse_unfit(self, backend: object) -> None:
        """Raise TypeError for a backend that this face cannot call."""

    # -- for the faces -----------------------------------------------------------------------------

    def _limits(
        self, timeout: Duration | Default | None, max_attempts: int | Default | None
    ) -> Limits:
        return chosen_limits(self._default_limits, timeout, max_attempts)

    def _reentered(self, label: str) -> RuntimeError:
        """Return what to raise at one who has passed the gate already: it would wait for itself."""
        return RuntimeError(
            f"{label} cannot acquire lock {self._name!r}: it is {label}'s already, and the lock is "
            "not reentrant"
        )

    def _pursuit(
        self, holder: object, label: str, token: str, limits: Limits, since: float
    ) -> Pursuit:
        """Return what asks for the lock, for one that has just passed the gate."""
        gate = self._gate
        gate.pursuit = Pursuit(
            name=self._name,
            token=token,
            waiter=label,
            ttl=self._ttl,
            request_timeout=self._request_timeout,
            schedule=self._schedule,
            rng=self._rng,
            limits=limits,
            since=since,
            observe=observer(self._on_wait),
            cede=gate.passed(holder),
            failure=gate.failure,
        )
        return gate.pursuit

    def _may_change_hands(self, lease: Lease) -> bool:
        """Return whether a lease that is held may be left to the next, or taken over by it.

        Not where the next could tell the difference: it expects a lease that lasts as long as it
        has asked for, which one that is not renewed for ever would not. Nor where the last renewal
        is due or has failed: somebody has to hear soon what the backend says.
        """
        return (
            lease.fence < lease.last
            and lease.ttl == self._ttl
            and self._renewed_for == inf
            and lease.lost.failure is None
            and clock() - lease.renewed < self._ttl / 3
        )

    def _inherit(self, pursuit: Pursuit) -> Lease | None:
        """Return the lease that was left at the gate to the one that has just passed, if any."""
        heirloom = self._gate.heirloom
        if heirloom is None or not self._may_change_hands(heirloom):
            return None
        # What is to be released if this goes wrong: no signal comes in between.
        pursuit.token, self._gate.heirloom = heirloom.token, None
        return heirloom.successor()

    def _renewed_until(self, lease: Lease) -> float:
        return 0.0 if self._renewed_for == 0.0 else lease.since + self._renewed_for

    def _keeping_begins_in(self, lease: Lease) -> float:
        """Return the seconds until `_keeping` has something to do."""
        return keeping_begins_in(lease, self._ttl, self._renewed_until(lease))

    def _keeping(self, lease: Lease) -> Steps:
        """Return what renews a lease."""
        until = self._renewed_until(lease)
        return keep(lease, self._ttl, self._request_timeout, until, self._rng)

    def _count(self, pursuit: Pursuit, lease: Lease | None, waited_at_gate: bool) -> None:
        """Note how a pursuit went, while still behind the gate."""
        self._attempts += pursuit.attempt
        self._unanswered += pursuit.unanswered
        if pursuit.met_others:
            self._gate.met_others()
        if lease is None:
            return
        self._gate.granted(lease, pursuit.attempt > 1 or pursuit.cede > 0.0)
        self._acquired += 1
        self._handed_over += not pursuit.attempt
        if waited_at_gate or pursuit.attempt > 1:
            self._contended += 1
            waited = clock() - pursuit.since
            self._total_wait += waited
            self._longest_wait = max(self._longest_wait, waited)
            self._tell_wait(pursuit.waiter, waited, pursuit.attempt, None)

    def _call_off(self, pursuit: Pursuit, lease: Lease | None, keeper: Keeper | None) -> None:
        """Undo a pursuit that was interrupted, all but to release its token."""
        if keeper is not None:
            keeper.stop()
        if lease is None:
            self._count(pursuit, None, False)
        else:
            lease.lost.end(INTERRUPTED)

    def _settle(self, lease: Lease, was_held: bool, had_it: bool | None, unanswered: int) -> bool:
        """Note how a release went; return whether the lease was held to the end."""
        self._note_answer(lease, had_it, unanswered)
        if had_it is False and was_held and not unanswered:  # else the first request had taken it
            lease.lost.reason = TAKEN
            was_held = False
        self._lost += not was_held
        self._tell_hold(lease, "released" if was_held else "lost")
        return was_held

    def _tell_hold(self, lease: Lease, outcome: Outcome) -> None:
        tell_hold(self._name, type(self).__name__, outcome, clock() - lease.since)

    def _note_answer(self, lease: Lease, had_it: bool | None, unanswered: int) -> None:
        """Note what the backend said of the release of a lease."""
        self._unanswered += unanswered
        if had_it is None:
            logger.warning(
                "lock %r: the backend did not answer the release; it stays taken for up to %.3g s",
                self._name,
                lease.ttl,
            )

    def _count_failure(
        self, error: BaseException, waiter: str, since: float, pursuit: Pursuit | None
    ) -> None:
        if isinstance(error, AcquireTimeout):
            self._timeouts += 1
            if pursuit is None:  # at the gate: what the one that asks for all of them knows
                error.__cause__ = self._gate.failure
        else:
            self._cancellations += 1
        attempts = 0 if pursuit is None else pursuit.attempt
        self._tell_wait(waiter, clock() - since, attempts, error)

    def _tell_wait(
        self, waiter: str, seconds: float, attempts: int, error: BaseException | None
    ) -> None:
        tell_wait(self._name, type(self).__name__, seconds, attempts, waiter, error)

    def _unheld(self) -> RuntimeError:
        return RuntimeError(f"cannot release lock {self._name!r}: nobody acquired it here")


def at_gate(limits: Limits) -> Limits:
    """Return the limits of the wait at the gate: tries are requests, so there it has but a time.

    Who wants to try once, though, does not wait for others of its process either.
    """
    timeout, max_attempts = limits
    return timeout, 1 if max_attempts == 1 else None


def goes_first(error: BaseException | None) -> bool:
    """Return whether what ended a body is a cancel or interrupt, which counts more than a loss."""
    return error is not None and not isinstance(error, Exception)


def _positive(field: str, value: Any) -> float:
    seconds = duration(field, value)
    if seconds == 0.0:
        raise ValueError(f"{field} must be more than 0 seconds, not {value!r}")
    return seconds


def _renewed_for(renewal: bool | Duration) -> float:
    """Return for how many seconds a lease is renewed."""
    if isinstance(renewal, bool):
        return inf if renewal else 0.0
    return duration("renewal", renewal)
