"""For tests: of programs that use the locks, and of a backend of your own.

`no_backoff` has every nap take no time, `record_attempts` lists all failed tries, `VirtualClock`
runs asyncio programs in virtual time. They are fixtures of pytest too, as soon as this package is
installed. What a backend of your own has to pass is `BackendContract`.
"""

from ._naps import RecordedAttempts, no_backoff, record_attempts
from ._virtual import Deadlock, VirtualClock
from .contract import BackendContract

__all__ = [
    "BackendContract",
    "Deadlock",
    "RecordedAttempts",
    "VirtualClock",
    "no_backoff",
    "record_attempts",
]
