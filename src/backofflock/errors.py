"""The errors of backofflock: each names the lock, carries its facts and can be pickled."""

from __future__ import annotations

from typing import Any, ClassVar

from anyio import WouldBlock as _AnyioWouldBlock

__all__ = [
    "AcquireTimeout",
    "BackendRefused",
    "BackendUnavailable",
    "BackoffLockError",
    "LeaseLost",
    "OwnerDied",
    "WouldBlock",
]


class BackoffLockError(Exception):
    """What every error of this package can be caught as."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The constructors take facts and not a message, and OSError reads meaning into its
        # arguments: so a copy is made from the finished error, not by calling them again.
        return (_restored, (type(self), self.args, dict(vars(self))))


def _restored(
    cls: type[BackoffLockError], args: tuple[Any, ...], facts: dict[str, Any]
) -> BackoffLockError:
    error = cls.__new__(cls)
    error.args = args
    vars(error).update(facts)
    return error


def _effort(attempts: int, waited: float) -> str:
    return f"{attempts} {'attempt' if attempts == 1 else 'attempts'} and {waited:.3f} seconds"


class AcquireTimeout(BackoffLockError, TimeoutError):
    """A waiter reached one of its limits and gave up; it holds nothing and is in no queue.

    Attributes: `lock` (its label), `attempts` (tries made), `waited` (seconds), and `reason`: which
    limit it was, ``"timeout=2.0"``, ``"max_attempts=3"`` or ``"the schedule is exhausted"``.

    >>> print(AcquireTimeout("orders", attempts=7, waited=2.0014, reason="timeout=2.0"))
    gave up on lock 'orders' after 7 attempts and 2.001 seconds (timeout=2.0)
    """

    def __init__(self, lock: str, attempts: int, waited: float, reason: str) -> None:
        super().__init__(f"gave up on lock {lock!r} after {_effort(attempts, waited)} ({reason})")
        self.lock = lock
        self.attempts = attempts
        self.waited = waited
        self.reason = reason


class WouldBlock(BackoffLockError, _AnyioWouldBlock):
    """``acquire_nowait`` found the lock taken, or free but reserved for a waiter.

    Attributes: `lock` (its label) and `waiters`, how many were in its queue.

    >>> print(WouldBlock("orders", waiters=2))
    lock 'orders' is not to be had at once (1 attempt and 0.000 seconds, 2 in its queue)
    """

    def __init__(self, lock: str, waiters: int) -> None:
        super().__init__(
            f"lock {lock!r} is not to be had at once ({_effort(1, 0.0)}, {waiters} in its queue)"
        )
        self.lock = lock
        self.waiters = waiters


class OwnerDied(BackoffLockError, RuntimeError):
    """The task that owns the lock has finished, or its loop was closed, and it never released.

    What the lock protects may be half changed, so the lock stays taken and every waiter is told;
    nobody can release it. Attributes: `lock` (its label), `owner` (the task's name), `attempts`
    (tries made) and `waited` (seconds).

    >>> print(OwnerDied("orders", owner="Task-3", attempts=1, waited=0.0))
    Task-3 ended without releasing lock 'orders' (found after 1 attempt and 0.000 seconds)
    """

    def __init__(self, lock: str, owner: str, attempts: int, waited: float) -> None:
        super().__init__(
            f"{owner} ended without releasing lock {lock!r} "
            f"(found after {_effort(attempts, waited)})"
        )
        self.lock = lock
        self.owner = owner
        self.attempts = attempts
        self.waited = waited


class LeaseLost(BackoffLockError):
    """A lease ended before it was released: from then on another may hold the lock.

    What was done since `remaining()` was last above 0 may have met what the next holder did.
    Attributes: `lock` (its name), `fence` (of the lost lease), `held` (seconds) and `reason`.

    >>> print(LeaseLost("orders", fence=7, held=30.0, reason="it could not be renewed in time"))
    the lease of lock 'orders' with fence 7 was lost after 30.000 seconds: it could not be \
renewed in time
    """

    def __init__(self, lock: str, fence: int, held: float, reason: str) -> None:
        super().__init__(
            f"the lease of lock {lock!r} with fence {fence} was lost after {held:.3f} seconds: "
            f"{reason}"
        )
        self.lock = lock
        self.fence = fence
        self.held = held
        self.reason = reason


class _BackendError(BackoffLockError):
    """What a backend made of a call."""

    _did: ClassVar[str]

    def __init__(self, backend: str, call: str, reason: str) -> None:
        super().__init__(f"{backend} {self._did} {call}: {reason}")
        self.backend = backend
        self.call = call
        self.reason = reason


class BackendUnavailable(_BackendError, ConnectionError):
    """A backend did not answer, so nobody knows whether it did what it was asked.

    Waiting locks back off and try again; where one gives up, this is the cause of its
    `AcquireTimeout`, also if it was another of its process that asked for both. Attributes:
    `backend` (without passwords), `call` and `reason`.

    >>> print(BackendUnavailable("redis://db:6379/0", "try_acquire", "connection refused"))
    redis://db:6379/0 did not answer try_acquire: connection refused
    """

    _did = "did not answer"


class BackendRefused(_BackendError):
    """A backend answered, and will not do what it was asked however often one tries.

    It wants another password, is no such server, or its directory cannot be written. Attributes:
    `backend` (without passwords), `call` and `reason`.

    >>> print(BackendRefused("redis://db:6379/0", "try_acquire", "invalid password"))
    redis://db:6379/0 refused try_acquire: invalid password
    """

    _did = "refused"
