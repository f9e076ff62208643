"""The lock that tries, backs off and tries again: for coroutines, threads and both at once.

`BackoffLock` is for tasks of asyncio, trio and anyio, `ThreadBackoffLock` for threads and tasks on
one lock; `DistributedLock` and `ThreadDistributedLock` are for a fleet of processes and machines.
How long a waiter sleeps between tries is a schedule: see `backofflock.schedules`.
"""

from __future__ import annotations

from ._attempts import Attempt
from .backends import connect
from .distributed import DistributedLock, ThreadDistributedLock
from .errors import (
    AcquireTimeout,
    BackendRefused,
    BackendUnavailable,
    BackoffLockError,
    LeaseLost,
    OwnerDied,
    WouldBlock,
)
from .leases import AsyncBackend, Backend, Busy, Grant, Lease
from .records import LeaseStatistics, LockStatistics, WaitDetails
from .schedules import (
    DEFAULT_SCHEDULE,
    FLEET_SCHEDULE,
    POLLING_SCHEDULE,
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
    "FLEET_SCHEDULE",
    "POLLING_SCHEDULE",
    "AcquireTimeout",
    "AsyncBackend",
    "Attempt",
    "Backend",
    "BackendRefused",
    "BackendUnavailable",
    "BackoffLock",
    "BackoffLockError",
    "Busy",
    "Constant",
    "Decorrelated",
    "DistributedLock",
    "Exponential",
    "Fibonacci",
    "Grant",
    "Lease",
    "LeaseLost",
    "LeaseStatistics",
    "Linear",
    "LockStatistics",
    "OwnerDied",
    "Polynomial",
    "Quadratic",
    "Schedule",
    "Sequence",
    "Spin",
    "ThreadBackoffLock",
    "ThreadDistributedLock",
    "WaitDetails",
    "WouldBlock",
    "connect",
]
