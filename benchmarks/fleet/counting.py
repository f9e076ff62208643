"""How many requests the clients of a process have sent, whichever lock wanted them.

Counted where each client sends one, which takes a fraction of a microsecond and is the same for
everybody. A test compares the counts with the round trips that a relay sees on their way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from threading import get_ident
from time import perf_counter
from typing import Any

from ..workloads.contenders import Pause, Section
from ..workloads.tally import Tally

__all__ = ["FleetTally", "count_requests_to"]

SENDERS = {
    "redis": (
        ("redis.connection", "AbstractConnection", "send_packed_command"),
        ("redis.asyncio.connection", "AbstractConnection", "send_packed_command"),
    ),
    "postgres": (
        ("psycopg", "Cursor", "execute"),
        ("psycopg", "AsyncCursor", "execute"),
        ("backofflock.backends._libpq", "Session", "ask"),
    ),
    "etcd": (
        ("httpx", "HTTPTransport", "handle_request"),
        ("httpx", "AsyncHTTPTransport", "handle_async_request"),
    ),
    "file": (),
}
"""Module, class and method; each call of one is a request."""

_sent: dict[int, int] = defaultdict(int)  # by thread: no two of them count in one place
_counted: set[str] = set()


def count_requests_to(backend: str) -> None:
    """Count from now on, in this process."""
    if backend not in _counted:
        _counted.add(backend)
        for module, owner, method in SENDERS[backend]:
            kind = getattr(import_module(module), owner)
            setattr(kind, method, _counting(getattr(kind, method)))


def _counting(send: Callable[..., Any]) -> Callable[..., Any]:
    def count(*arguments: Any, **options: Any) -> Any:
        _sent[get_ident()] += 1
        return send(*arguments, **options)  # it may be a coroutine that is returned

    return count


class FleetTally(Tally):
    """A tally that has the requests of this process between its beginning and its end."""

    def __init__(self, tasks: int, threads: int) -> None:
        super().__init__(tasks, threads)
        self.requests = 0
        self.held = 0.0
        """Seconds that the sections took which are timed, all together."""

    def timed_in_task(self, hold: Pause) -> Pause:
        """Return a section that tells how long it took."""

        async def timed() -> None:
            begun = perf_counter()
            await hold()
            self.held += perf_counter() - begun  # one at a time is in here

        return timed

    def timed_in_thread(self, hold: Section) -> Section:
        """Do the same for threads."""

        def timed() -> None:
            begun = perf_counter()
            hold()
            self.held += perf_counter() - begun

        return timed

    def begin(self) -> None:
        """Measure from here."""
        self.requests = -sum(_sent.values())
        super().begin()

    def finish(self) -> None:
        """Measure up to here, and tell the contenders to leave."""
        super().finish()
        self.requests += sum(list(_sent.values()))
