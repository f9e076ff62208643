"""How the peers are set up for tasks of asyncio: each yields one lock for each contender.

A lock here is anything for ``async with``. Connections are made before the locks are used, and each
peer gets them as its users would have them: one client for the whole process.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import Any

from backofflock.backends import connect
from backofflock.distributed import DistributedLock

from . import common

__all__ = [
    "etcd_calls",
    "filelock_locks",
    "our_locks",
    "postgres_calls",
    "postgres_loop",
    "redis_calls",
    "redis_py_locks",
]

Locks = AsyncIterator[list[Any]]


@asynccontextmanager
async def our_locks(url: str, name: str, contenders: int) -> Locks:
    """Yield one lock, which serves all of them."""
    backend: Any = connect(url)
    try:
        async with DistributedLock(f"{name} {os.getpid()}", backend):
            pass  # a lock of its own: the connection is what is wanted
        yield [DistributedLock(name, backend, ttl=common.TTL)] * contenders
    finally:
        if hasattr(backend, "aclose"):
            await backend.aclose()
        elif hasattr(backend, "close"):
            backend.close()


@asynccontextmanager
async def redis_py_locks(url: str, name: str, contenders: int, sleep: float = 0.1) -> Locks:
    """Yield the locks of redis-py; 0.1 s is how long they sleep by default."""
    import redis.asyncio as redis

    client: Any = redis.Redis.from_url(url, max_connections=common.CONNECTIONS)
    async with client:
        await asyncio.gather(*(client.ping() for _ in range(contenders)))
        yield [client.lock(name, timeout=common.TTL, sleep=sleep) for _ in range(contenders)]


class _RedisCalls:
    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name
        self._delete = client.register_script(common.REDIS_DELETE)

    async def __aenter__(self) -> None:
        self._token = secrets.token_hex(16)
        milliseconds = round(common.TTL * 1000)
        if not await self._client.set(self._name, self._token, nx=True, px=milliseconds):
            raise RuntimeError("somebody else has the key")

    async def __aexit__(self, *_: object) -> None:
        await self._delete(keys=[self._name], args=[self._token])


@asynccontextmanager
async def redis_calls(url: str, name: str, contenders: int) -> Locks:
    """Yield the two calls by hand."""
    import redis.asyncio as redis

    client: Any = redis.Redis.from_url(url)
    async with client:
        yield [_RedisCalls(client, name) for _ in range(contenders)]


@asynccontextmanager
async def filelock_locks(
    url: str, name: str, contenders: int, poll_interval: float = 0.05
) -> Locks:
    """Yield the locks of filelock; 0.05 s is how often they poll by default."""
    filelock = import_module("filelock")
    path = common.file_of(url, name)
    yield [filelock.AsyncFileLock(path, poll_interval=poll_interval) for _ in range(contenders)]


class _PostgresLoop:
    """A session lock on a connection of its own: those of one session do not exclude each other."""

    def __init__(self, connection: Any, name: str, sleep: float | None) -> None:
        self._connection = connection
        self._key = (common.advisory_key(name),)
        self._sleep = sleep

    async def __aenter__(self) -> None:
        while not await self._ask(common.POSTGRES_TRY):
            if self._sleep is None:
                raise RuntimeError("somebody else has the lock")
            await asyncio.sleep(self._sleep)

    async def __aexit__(self, *_: object) -> None:
        await self._ask(common.POSTGRES_UNLOCK)

    async def _ask(self, statement: str) -> bool:
        cursor = await self._connection.execute(statement, self._key)
        row = await cursor.fetchone()
        return bool(row[0])


@asynccontextmanager
async def postgres_loop(url: str, name: str, contenders: int, sleep: float | None = 0.1) -> Locks:
    """Yield loops that try, sleep and try again."""
    import psycopg

    async with AsyncExitStack() as stack:
        yield [
            _PostgresLoop(
                await stack.enter_async_context(
                    await psycopg.AsyncConnection.connect(url, autocommit=True)
                ),
                name,
                sleep,
            )
            for _ in range(contenders)
        ]


def postgres_calls(url: str, name: str, contenders: int) -> Any:
    """Yield the two calls by hand."""
    return postgres_loop(url, name, contenders, None)


class _EtcdCalls:
    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    async def __aenter__(self) -> None:
        self._lease = (await self._ask("/v3/lease/grant", common.etcd_grant()))["ID"]
        answer = await self._ask("/v3/kv/txn", common.etcd_txn(self._name, self._lease))
        if not answer.get("succeeded"):
            raise RuntimeError("somebody else has the key")

    async def __aexit__(self, *_: object) -> None:
        await self._ask("/v3/lease/revoke", common.etcd_revoke(self._lease))

    async def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = await self._client.post(path, json=body)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer


@asynccontextmanager
async def etcd_calls(url: str, name: str, contenders: int) -> Locks:
    """Yield the three calls by hand."""
    import httpx

    async with httpx.AsyncClient(base_url=common.etcd_address(url)) as client:
        yield [_EtcdCalls(client, name) for _ in range(contenders)]
