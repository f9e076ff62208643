"""Locks that processes and machines share: `DistributedLock` and `ThreadDistributedLock`."""

from ._tasks import DistributedLock
from ._threads import ThreadDistributedLock

__all__ = ["DistributedLock", "ThreadDistributedLock"]
