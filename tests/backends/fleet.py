"""What the scenarios are written with: one lock for every host, and the moment a lock is granted.

A scenario is a contestant of `tests.contract`: one coroutine, which in a thread never suspends.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from secrets import token_hex
from types import TracebackType
from typing import Any

from backofflock import (
    Backend,
    DistributedLock,
    Lease,
    LeaseStatistics,
    ThreadDistributedLock,
    connect,
)

from ..contract.hosts import ON_ASYNCIO, ON_THREADS, ON_TRIO, Host
from ..contract.worlds import ThreadWorld, World
from .proxy import Proxy
from .servers.base import Server

__all__ = [
    "HOSTS",
    "SERVERS",
    "InThread",
    "Lock",
    "by_host",
    "client",
    "connected",
    "elapsed_until",
    "lock_in",
    "new_name",
    "when_granted",
]

HOSTS = (ON_ASYNCIO, ON_TRIO, ON_THREADS)
SERVERS = ("redis", "postgres", "etcd")


class InThread:
    """A `ThreadDistributedLock` in the clothes of a `DistributedLock`."""

    def __init__(self, lock: ThreadDistributedLock) -> None:
        self._lock = lock

    async def __aenter__(self) -> Lease:
        return self._lock.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.__exit__(exc_type, exc_value, traceback)

    async def acquire(self, **limits: Any) -> Lease:
        return self._lock.acquire(**limits)

    async def release(self) -> None:
        self._lock.release()

    def statistics(self) -> LeaseStatistics:
        return self._lock.statistics()


Lock = DistributedLock | InThread


def lock_in(world: World, name: str, backend: Backend, **options: Any) -> Lock:
    """Return the lock for the contestants of a world."""
    if isinstance(world, ThreadWorld):
        return InThread(ThreadDistributedLock(name, backend, **options))
    return DistributedLock(name, backend, **options)


@asynccontextmanager
async def client(world: World, url: str, **options: Any) -> AsyncIterator[Backend]:
    """Give the backend of a URL, and close it afterwards as one does in such a world."""
    backend = connect(url, **options)
    try:
        yield backend
    finally:
        if not isinstance(world, ThreadWorld) and hasattr(backend, "aclose"):
            await backend.aclose()
        if hasattr(backend, "close"):
            backend.close()


def new_name(topic: str) -> str:
    """Return the name of a lock that nobody has used."""
    return f"{topic} {token_hex(8)}"


async def when_granted(world: World, proxy: Proxy, server: Server, name: str) -> None:
    """Return once the server has granted a lock and before its client has heard of it.

    The proxy must hold replies. Those that came before the server was seen to have the lock free
    are no grant, and may pass. In the end it holds those of the connections there are.
    """

    def is_granted() -> bool:
        held = proxy.replies_held
        if not server.is_free(name):
            return True
        proxy.pass_on(held)
        return False

    await world.until(is_granted, f"the grant of {name}")
    await world.until(lambda: proxy.replies_held, "its reply")
    proxy.swallow_replies(of_new=False)


async def connected(world: World, backend: Backend) -> None:
    """Let a backend make its connection: what is lost from now on is no greeting."""
    async with lock_in(world, new_name("connected"), backend):
        pass


STOPPED = 0.1
"""Seconds from which on a sleep of 2 ms says that the machine stood still."""


async def elapsed_until(
    world: World, condition: Callable[[], object], limit: float, what: str
) -> None:
    """Wait for a condition, `limit` seconds at the most.

    Of a sleep between two looks that takes longer than `STOPPED` the rest does not count: a machine
    that runs nobody makes no lock late. (One that blocks the event loop is found by other tests.)
    """
    began = time.monotonic()
    while not condition():
        asleep = time.monotonic()
        assert asleep - began < limit, f"not within {limit} s: {what}"
        await world.sleep(0.002)
        began += max(0.0, time.monotonic() - asleep - STOPPED)


def by_host(*hosts: Host) -> dict[str, Any]:
    """Return the arguments of a parametrisation over hosts."""
    return {"argnames": "host", "argvalues": hosts, "ids": [host.name for host in hosts]}
