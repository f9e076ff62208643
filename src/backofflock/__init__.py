"""The lock that tries, backs off and tries again: for coroutines, threads and both at once.

`BackoffLock` is for tasks of asyncio, trio and anyio, `ThreadBackoffLock` for threads and tasks on
one lock. How long a waiter sleeps between tries is a schedule: see `backofflock.schedules`.
"""

from __future__ import annotations

from ._attempts import Attempt
from .errors import AcquireTimeout, BackoffLockError, OwnerDied, WouldBlock
from .records import LockStatistics, WaitDetails
from .schedules import (
    DEFAULT_SCHEDULE,
    Constant,
    Decorrelated,
    Exponential,
    Fibonacci,
    Linear,
    Polynomial,
    Quadratic,
    Schedule,
    Sequence,
    Spin,
)
from .tasks import BackoffLock
from .threads import ThreadBackoffLock

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_SCHEDULE",
    "AcquireTimeout",
    "Attempt",
    "BackoffLock",
    "BackoffLockError",
    "Constant",
    "Decorrelated",
    "Exponential",
    "Fibonacci",
    "Linear",
    "LockStatistics",
    "OwnerDied",
    "Polynomial",
    "Quadratic",
    "Schedule",
    "Sequence",
    "Spin",
    "ThreadBackoffLock",
    "WaitDetails",
    "WouldBlock",
]
