"""How the peers are set up for threads: each yields one lock for each contender.

What `benchmarks.fleet.in_tasks` says goes for these too; a lock is anything for ``with``.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from backofflock.backends import connect
from backofflock.distributed import ThreadDistributedLock

from . import common

__all__ = [
    "etcd_calls",
    "fasteners_locks",
    "filelock_locks",
    "our_locks",
    "postgres_calls",
    "postgres_loop",
    "redis_calls",
    "redis_py_locks",
]

Locks = Iterator[list[Any]]


@contextmanager
def our_locks(url: str, name: str, contenders: int) -> Locks:
    """Yield one lock, which serves all of them."""
    backend: Any = connect(url)
    try:
        with ThreadDistributedLock(f"{name} {os.getpid()}", backend):
            pass  # a lock of its own: the connection is what is wanted
        yield [ThreadDistributedLock(name, backend, ttl=common.TTL)] * contenders
    finally:
        if hasattr(backend, "close"):
            backend.close()


@contextmanager
def redis_py_locks(url: str, name: str, contenders: int, sleep: float = 0.1) -> Locks:
    """Yield the locks of redis-py; 0.1 s is how long they sleep by default."""
    import redis

    client: Any = redis.Redis.from_url(url, max_connections=common.CONNECTIONS)
    with client:
        pool = client.connection_pool
        for connection in [pool.get_connection() for _ in range(contenders)]:
            pool.release(connection)
        yield [client.lock(name, timeout=common.TTL, sleep=sleep) for _ in range(contenders)]


class _RedisCalls:
    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name
        self._delete = client.register_script(common.REDIS_DELETE)

    def __enter__(self) -> None:
        self._token = secrets.token_hex(16)
        milliseconds = round(common.TTL * 1000)
        if not self._client.set(self._name, self._token, nx=True, px=milliseconds):
            raise RuntimeError("somebody else has the key")

    def __exit__(self, *_: object) -> None:
        self._delete(keys=[self._name], args=[self._token])


@contextmanager
def redis_calls(url: str, name: str, contenders: int) -> Locks:
    """Yield the two calls by hand."""
    import redis

    with redis.Redis.from_url(url) as client:
        yield [_RedisCalls(client, name) for _ in range(contenders)]


@contextmanager
def filelock_locks(url: str, name: str, contenders: int, poll_interval: float = 0.05) -> Locks:
    """Yield the locks of filelock; 0.05 s is how often they poll by default."""
    filelock = import_module("filelock")
    path = common.file_of(url, name)
    yield [filelock.FileLock(path, poll_interval=poll_interval) for _ in range(contenders)]


class _BehindALock:
    """What excludes processes and not threads, behind what excludes threads."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._mutex = threading.Lock()

    def __enter__(self) -> None:
        self._mutex.acquire()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self._mutex.release()


@contextmanager
def fasteners_locks(url: str, name: str, contenders: int) -> Locks:
    """Yield fasteners' lock behind a `threading.Lock`: POSIX gives its locks to processes."""
    fasteners = import_module("fasteners")
    yield [_BehindALock(fasteners.InterProcessLock(common.file_of(url, name)))] * contenders


class _PostgresLoop:
    """A session lock on a connection of its own: those of one session do not exclude each other."""

    def __init__(self, connection: Any, name: str, sleep: float | None) -> None:
        self._connection = connection
        self._key = (common.advisory_key(name),)
        self._sleep = sleep

    def __enter__(self) -> None:
        while not self._ask(common.POSTGRES_TRY):
            if self._sleep is None:
                raise RuntimeError("somebody else has the lock")
            time.sleep(self._sleep)

    def __exit__(self, *_: object) -> None:
        self._ask(common.POSTGRES_UNLOCK)

    def _ask(self, statement: str) -> bool:
        return bool(self._connection.execute(statement, self._key).fetchone()[0])


@contextmanager
def postgres_loop(url: str, name: str, contenders: int, sleep: float | None = 0.1) -> Locks:
    """Yield loops that try, sleep and try again."""
    import psycopg

    with ExitStack() as stack:
        yield [
            _PostgresLoop(stack.enter_context(psycopg.connect(url, autocommit=True)), name, sleep)
            for _ in range(contenders)
        ]


def postgres_calls(url: str, name: str, contenders: int) -> Any:
    """Yield the two calls by hand."""
    return postgres_loop(url, name, contenders, None)


class _EtcdCalls:
    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def __enter__(self) -> None:
        self._lease = self._ask("/v3/lease/grant", common.etcd_grant())["ID"]
        answer = self._ask("/v3/kv/txn", common.etcd_txn(self._name, self._lease))
        if not answer.get("succeeded"):
            raise RuntimeError("somebody else has the key")

    def __exit__(self, *_: object) -> None:
        self._ask("/v3/lease/revoke", common.etcd_revoke(self._lease))

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self._client.post(path, json=body)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer


@contextmanager
def etcd_calls(url: str, name: str, contenders: int) -> Locks:
    """Yield the three calls by hand."""
    import httpx

    with httpx.Client(base_url=common.etcd_address(url)) as client:
        yield [_EtcdCalls(client, name) for _ in range(contenders)]
