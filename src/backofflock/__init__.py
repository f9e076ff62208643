"""The lock that tries, backs off and tries again: for coroutines, threads and both at once.

`BackoffLock` is for tasks of asyncio, trio and anyio, `ThreadBackoffLock` for threads and tasks on
one lock; `DistributedLock` and `ThreadDistributedLock` are for a fleet of processes and machines.
How long a waiter sleeps between tries is a schedule: see `backofflock.schedules`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ._attempts import Attempt
from .errors import (
    AcquireTimeout,
    BackendRefused,
    BackendUnavailable,
    BackoffLockError,
    LeaseLost,
    OwnerDied,
    WouldBlock,
)
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

if TYPE_CHECKING:
    from ._instrument import Instrumentation, instrument
    from .backends import connect
    from .distributed import DistributedLock, ThreadDistributedLock
    from .events import LockEvent
    from .leases import AsyncBackend, Backend, Busy, Grant, Lease

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
    "Instrumentation",
    "Lease",
    "LeaseLost",
    "LeaseStatistics",
    "Linear",
    "LockEvent",
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
    "instrument",
]

# What a fleet or a listener needs is loaded when it is first asked for: who uses neither does not
# pay for it at each start. `python -m benchmarks.imports` measures what importing this costs.
_LOADED_ON_DEMAND = MappingProxyType(
    {
        **dict.fromkeys(["DistributedLock", "ThreadDistributedLock"], "distributed"),
        **dict.fromkeys(["Instrumentation", "instrument"], "_instrument"),
        **dict.fromkeys(["AsyncBackend", "Backend", "Busy", "Grant", "Lease"], "leases"),
        "LockEvent": "events",
        "connect": "backends",
    }
)

if not TYPE_CHECKING:  # a type checker would believe that it has any name there is

    def __getattr__(name: str) -> object:
        from importlib import import_module

        try:
            module = import_module(f".{_LOADED_ON_DEMAND[name]}", __name__)
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        value = globals()[name] = getattr(module, name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
