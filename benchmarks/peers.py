"""The locks that are measured, as data: who they are, where they serve, how they are made."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import platform
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from backofflock import BackoffLock, ThreadBackoffLock

from .textbook import DELAYS, Textbook

__all__ = ["HOSTS", "Peer", "all_peers", "serving"]

HOSTS = ("asyncio", "trio", "threads", "mixed", "loops")
"""Where contenders run: tasks on one loop, threads, threads and tasks, tasks on two loops."""


@dataclass(frozen=True)
class Peer:
    """A lock. `make` returns a new one, for ``with`` in threads and ``async with`` in tasks."""

    name: str
    package: str
    hosts: frozenset[str]
    make: Callable[..., Any]
    failed: Callable[[Any], int] | None = None
    """Returns how many tries have failed so far, for a lock that counts them."""
    can_be_cancelled: bool = True
    """Whether a task that waits for it may be cancelled without losing the lock."""
    missing: str | None = None
    """Why it cannot take part, or None."""
    variant: bool = False
    """Whether it is a peer of ours with other defaults, which takes part only if it is named."""

    @property
    def version(self) -> str:
        """The version of its package; "not installed" where there is none."""
        if self.package == "python":
            return platform.python_version()
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"


class ToThread:
    """A `threading.Lock` whose ``acquire`` a task leaves to a worker thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        await asyncio.to_thread(self._lock.acquire)

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _failed_tries(lock: BackoffLock | ThreadBackoffLock) -> int:
    statistics = lock.statistics()
    return max(0, statistics.attempts - statistics.contended)


def _failed_in_textbook(lock: Textbook) -> int:
    return lock.failed


def _optional(name: str, package: str, hosts: frozenset[str]) -> Peer:
    """Return ``package.Lock`` as a peer, missing where the package is."""
    try:
        make: Callable[[], Any] = importlib.import_module(package).Lock
    except ImportError:
        return Peer(name, package, hosts, object, missing=f"{package} is not installed")
    return Peer(name, package, hosts, make)


def all_peers() -> tuple[Peer, ...]:
    """Return every peer, those that are missing on this machine included."""
    tasks = frozenset({"asyncio", "trio", "loops"})
    either = frozenset({"asyncio", "trio"})
    every = frozenset(HOSTS)
    threads = frozenset({"threads"})
    textbook = every - {"trio"}
    return (
        Peer("BackoffLock", "backofflock", tasks, BackoffLock, _failed_tries),
        Peer("ThreadBackoffLock", "backofflock", every, ThreadBackoffLock, _failed_tries),
        Peer("asyncio.Lock", "python", frozenset({"asyncio"}), asyncio.Lock),
        Peer("anyio.Lock", "anyio", either, anyio.Lock),
        Peer(
            "anyio.Lock(fast_acquire=True)",
            "anyio",
            either,
            partial(anyio.Lock, fast_acquire=True),
        ),
        _optional("trio.Lock", "trio", frozenset({"trio"})),
        _optional("aiologic.Lock", "aiologic", every),
        Peer("threading.Lock", "python", threads, threading.Lock),
        Peer("threading.RLock", "python", threads, threading.RLock),
        Peer(
            "to_thread(threading.Lock.acquire)",
            "python",
            frozenset({"asyncio", "mixed", "loops"}),
            ToThread,
            can_be_cancelled=False,
        ),
        *(
            Peer(name, "python", textbook, partial(Textbook, delays), _failed_in_textbook)
            for name, delays in DELAYS.items()
        ),
    )


def serving(host: str, peers: Sequence[Peer]) -> tuple[Peer, ...]:
    """Return the peers that are here and can serve contenders on `host`."""
    return tuple(peer for peer in peers if host in peer.hosts and peer.missing is None)
