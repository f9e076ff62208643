"""`PostgresBackend`: locks as session locks of PostgreSQL, without a table.

`_postgres_calls.py` has what is done for a call, `_session_lock.py` what is asked, `_libpq.py` how.
"""

from __future__ import annotations

import threading
from typing import Any, Self

from .._checks import Duration, duration
from ..leases import AsyncBackend, Busy, Grant
from ._closing import Closing
from ._libpq_settings import parsed
from ._postgres_calls import Calls
from ._session_lock import lock_key
from ._steps import in_task, in_thread

__all__ = ["PostgresBackend", "lock_key"]


class PostgresBackend(Closing):
    """Locks of a fleet as session locks (advisory locks) of one PostgreSQL database.

    Each lock that is held or waited for has a connection of its own. The server frees it when that
    connection ends, and ends it when it was silent for the `ttl`. So no table is needed, and no
    right but to connect. PostgreSQL 14 or later.

    >>> PostgresBackend.from_url("postgresql://fleet:secret@db.example/jobs?sslmode=require")
    <PostgresBackend postgresql://fleet@db.example/jobs>

    When to use it: where PostgreSQL runs anyway, and is reached without a proxy that pools
    transactions. When not: for thousands of locks at a time, each of which is a process there.

    Arguments:
    - `conninfo`: a URL or connection string, with all that libpq understands, several hosts
      included. A standby is passed over unless it says ``target_session_attrs``.
    - `request_timeout`: seconds, or a timedelta, for a call, connecting included. What the system
      takes to look up the name of the host is not counted.
    - `max_idle`: so many connections are kept for the acquisitions to come.

    Promised and not promised: see ``docs/backends/postgres.md``. Nothing is sent before the first
    acquire. `close`, or leaving it as a context manager, ends all connections and frees all locks.
    Any thread may use it. After a fork the child has none of its parent's connections or locks.
    """

    def __init__(
        self, conninfo: str, *, request_timeout: Duration = 5.0, max_idle: int = 2
    ) -> None:
        if not isinstance(conninfo, str):
            raise TypeError(f"conninfo must be a str, not one of {type(conninfo).__name__}")
        seconds = duration("request_timeout", request_timeout)
        if not seconds:
            raise ValueError(
                f"request_timeout must be more than 0 seconds, not {request_timeout!r}"
            )
        if isinstance(max_idle, bool) or not isinstance(max_idle, int) or max_idle < 0:
            raise ValueError(f"max_idle must be a whole number >= 0, not {max_idle!r}")
        seconds = min(seconds, threading.TIMEOUT_MAX)
        self._calls = Calls(parsed(conninfo), seconds, max_idle)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return the backend of a URL such as ``postgresql://user:password@host:5432/database``."""
        return cls(url, **options)

    # -- the three calls ---------------------------------------------------------------------------

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Give the lock to `token` unless another has it: one request, and maybe to connect."""
        return in_thread(self._calls.try_acquire(name, token, ttl))

    def renew(self, name: str, token: str, ttl: float) -> bool:
        """Prolong the grant of `token`; return whether it still had it: one request."""
        return in_thread(self._calls.renew(name, token, ttl))

    def release(self, name: str, token: str) -> bool:
        """Take the lock from `token`, for good; return whether it had it: one request."""
        return in_thread(self._calls.release(name, token))

    def native(self, host: str) -> AsyncBackend | None:
        """Return the calls for tasks of ``"asyncio"``; None for worker threads."""
        return _InTasks(self) if host == "asyncio" else None

    # -- the end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """End all connections, which frees all locks. It may be called more than once."""
        self._calls.close()

    def __str__(self) -> str:
        return str(self._calls)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class _InTasks:
    """The three calls as coroutines, for tasks of asyncio."""

    __slots__ = ("_backend", "_calls")

    def __init__(self, backend: PostgresBackend) -> None:
        self._backend = backend
        self._calls = backend._calls

    def __str__(self) -> str:
        return str(self._backend)

    async def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Give the lock to `token` unless another has it."""
        return await in_task(self._calls.try_acquire(name, token, ttl))

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        """Prolong the grant of `token`; return whether it still had it."""
        return await in_task(self._calls.renew(name, token, ttl))

    async def release(self, name: str, token: str) -> bool:
        """Take the lock from `token`, for good; return whether it had it."""
        return await in_task(self._calls.release(name, token))
