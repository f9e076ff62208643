"""The locks that are measured, as data: who they are, and where they contend.

``make(url, name, contenders)`` returns a context manager, asynchronous for tasks, that yields as
many locks; see `benchmarks.fleet.in_tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

from ..peers import Peer
from . import in_tasks, in_threads
from .bars import FILELOCK, OURS, PLAIN, REDIS_PY
from .cells import BACKENDS

__all__ = ["LOOP", "all_peers", "find_peer"]

LOOP = "pg_try_advisory_lock loop"

_BOTH = ("uncontended", "contended")


def _at(places: Iterable[str], workloads: Iterable[str] = _BOTH) -> frozenset[str]:
    workloads = tuple(workloads)
    return frozenset(f"{place}/{workload}" for place in places for workload in workloads)


def _every(kind: str) -> frozenset[str]:
    return _at(f"{backend}/{kind}" for backend in BACKENDS)


def _peer(name: str, package: str, hosts: frozenset[str], make: Callable[..., Any]) -> Peer:
    missing = None if find_spec(package) else f"{package} is not installed"
    return Peer(name, package, hosts, make, missing=missing)


def all_peers() -> tuple[Peer, ...]:
    """Return every peer, those that are missing on this machine included."""
    peers = []
    for kind, how in (("asyncio", in_tasks), ("threads", in_threads)):
        redis, postgres, etcd = (f"{backend}/{kind}" for backend in ("redis", "postgres", "etcd"))
        file = f"file/{kind}"
        peers += [
            _peer(OURS[kind], "backofflock", _every(kind), how.our_locks),
            _peer(PLAIN[redis], "redis", _at([redis], ["uncontended"]), how.redis_calls),
            _peer(REDIS_PY[kind], "redis", _at([redis]), how.redis_py_locks),
            _tuned(REDIS_PY[kind], "redis", redis, how.redis_py_locks, sleep=0.01),
            _peer(FILELOCK[kind], "filelock", _at([file]), how.filelock_locks),
            _tuned(FILELOCK[kind], "filelock", file, how.filelock_locks, poll_interval=0.01),
            _peer(PLAIN[postgres], "psycopg", _at([postgres], ["uncontended"]), how.postgres_calls),
            _peer(LOOP, "psycopg", _at([postgres], ["contended"]), how.postgres_loop),
            _tuned(LOOP, "psycopg", postgres, how.postgres_loop, sleep=0.01),
            _peer(PLAIN[etcd], "httpx", _at([etcd], ["uncontended"]), how.etcd_calls),
        ]
    peers.append(
        _peer(
            "fasteners.InterProcessLock",
            "fasteners",
            _at(["file/threads"]),
            in_threads.fasteners_locks,
        )
    )
    return tuple(peers)


def _tuned(name: str, package: str, place: str, make: Callable[..., Any], **options: float) -> Peer:
    """Return a peer with another nap than its default: it polls ten times as often, or five."""
    text = ", ".join(f"{option}={value:g}" for option, value in options.items())
    peer = _peer(f"{name}({text})", package, _at([place], ["contended"]), make)
    return replace(peer, make=partial(make, **options))


def find_peer(name: str, host: str) -> Peer:
    """Return the peer of a name that serves on a host."""
    (peer,) = (peer for peer in all_peers() if peer.name == name and host in peer.hosts)
    return peer
