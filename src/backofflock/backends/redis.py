"""Locks in Redis, and in what speaks its language: Valkey, KeyDB, most managed services.

What is kept there, and the scripts that change it, are in `_redis_scripts`; what their failures
mean is in `_redis_site`; the same calls for tasks are in `_redis_tasks`.
"""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import suppress
from functools import partial
from time import monotonic
from types import MappingProxyType
from typing import Any, Self, TypeAlias

import redis.asyncio
import redis.asyncio.connection
import redis.asyncio.retry
import redis.connection
from redis import exceptions as answers
from redis.backoff import NoBackoff
from redis.retry import Retry

from .._checks import Duration, duration
from ..leases import AsyncBackend, Busy, Grant
from ._closing import ClosingInTasks
from ._redis_scripts import (
    ACQUIRE,
    PREFIX,
    RELEASE,
    RENEW,
    Command,
    Form,
    Script,
    for_seconds,
    to_end,
)
from ._redis_site import FAILURES, FOR, FRESH, Site, described, ends_connections, parsed
from ._redis_tasks import RedisInTasks
from ._spin import came_from_nearby, spin
from ._tls import refuse_missing

__all__ = ["RedisBackend"]

CONNECTIONS = 100
"""How many of the requests of one event loop may be under way at once."""

_Client: TypeAlias = (
    redis.Redis | redis.RedisCluster | redis.asyncio.Redis | redis.asyncio.RedisCluster
)

_TAKES = inspect.signature(redis.connection.AbstractConnection.__init__).parameters
_UNNAMED = MappingProxyType(
    {"driver_info": None} if "driver_info" in _TAKES else {"lib_name": None, "lib_version": None}
)
"""Options of connections that do not tell the server which library they are of: two requests, which
fail before Redis 7.2."""


_OURS = ("request_timeout", "prefix")
"""Options that redis-py does not know."""

_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""Options that name files, which redis-py reads when it connects."""


class RedisBackend(ClosingInTasks):
    """Keeps locks in Redis 5 or later, for threads and tasks.

    >>> from backofflock import connect
    >>> backend = connect("redis://:secret@localhost:6379/0", request_timeout=2.0)
    >>> backend
    RedisBackend('redis://localhost:6379/0')

    `clients` are those of redis-py that you have already: one for threads, one for asyncio, or one
    of each; also such of a cluster, or of Sentinel's ``master_for``. They are used as they are,
    with their own timeouts and retries, and never closed. Without one for asyncio, tasks call the
    one for threads in worker threads, as they always do on trio. Without one for threads, threads
    and trio get a TypeError. An asyncio client works on one event loop only. `prefix` begins the
    names of all keys.

    Promised, as long as one server keeps its data and its clock runs evenly: at most one token has
    a lock, and fences grow. Not promised: that a grant outlives a failover, an eviction or a
    restart without persistence. Then two may believe that they have the lock, until one renews; the
    fence tells them apart. docs/backends/redis.md has the details.
    """

    def __init__(self, *clients: _Client, prefix: str = PREFIX) -> None:
        by_kind: dict[bool, Any] = {}
        for client in clients:
            call = getattr(client, "execute_command", None)
            if not callable(call):
                kind = type(client).__name__  # not the object: it may be a URL with a password
                raise TypeError(f"clients must be those of redis-py, not {kind}; see from_url")
            by_kind[inspect.iscoroutinefunction(call)] = client
        if not clients or len(by_kind) != len(clients):
            raise TypeError("clients must be one for threads, one for asyncio, or one of each")
        self._client: Any = by_kind.get(False)
        self._site = Site(prefix, *described(clients[0]))
        self._in_tasks: RedisInTasks | None = None
        if True in by_kind:
            self._in_tasks = RedisInTasks(self._site, by_kind[True])
        self._is_ours = False
        """Whether it has made its clients."""
        self._idle: list[tuple[float, Any]] = []
        """Connections of its own client that nobody uses, and when they were used, see `FRESH`."""
        self._is_near = True
        """Whether its server answers so soon that its answers are spun for."""

    @classmethod
    def from_url(
        cls, url: str, *, request_timeout: Duration = 5.0, prefix: str = PREFIX, **options: Any
    ) -> Self:
        """Return a backend with clients of its own; nothing is sent before the first call.

        `url` is ``redis://user:password@host:port/db``, ``rediss://`` for TLS, or
        ``unix:///path/of/socket?db=0``, with `request_timeout`, `prefix` and options of redis-py's
        connections behind a ``?``. `options` are such too; the URL's go first. `request_timeout`:
        seconds after which a request counts as not answered. Raises ValueError for a URL that is
        none or an option's value that redis-py does not take, TypeError for an option that it does
        not know, and OSError for a file of TLS that cannot be read.
        """
        given = parsed(redis.connection, url)
        if "request_timeout" in given:
            try:
                request_timeout = float(given.pop("request_timeout"))
            except ValueError:
                raise ValueError("request_timeout must be a number of seconds") from None
        prefix = given.pop("prefix", prefix)
        seconds = duration("request_timeout", request_timeout)
        if not seconds:
            raise ValueError("request_timeout must be more than 0 seconds")
        # Every server speaks version 2, and it needs no request to agree upon.
        options = {"protocol": 2, "socket_timeout": seconds, **_UNNAMED, **options}
        settings: dict[str, Any] = {**options, **given}
        settings.setdefault("retry", Retry(NoBackoff(), 0))
        if "path" not in settings:
            settings.setdefault("socket_connect_timeout", settings["socket_timeout"])
        refuse_missing(*map(settings.get, _TLS_FILES))
        limit = settings.pop("max_connections", None)
        # Threads need no limit: each has one connection at a time.
        pool: Any = redis.ConnectionPool(max_connections=limit or 2**31, **settings)
        try:
            pool.connection_class(**pool.connection_kwargs)
        except TypeError as error:
            unknown = str(error).rpartition(" ")[2]
            raise TypeError(f"connections of redis-py have no option {unknown}") from None
        except redis.RedisError as error:
            raise ValueError(f"redis-py does not take an option: {error}") from None
        in_tasks = parsed(redis.asyncio.connection, url)
        backend = cls(redis.Redis.from_pool(pool), prefix=prefix)
        backend._is_ours = True
        settings = {
            **settings,
            **{name: value for name, value in in_tasks.items() if name not in _OURS},
            "retry": redis.asyncio.retry.Retry(NoBackoff(), 0),
            "max_connections": limit or CONNECTIONS,
        }
        # One timeout for the whole call: the client's own are for each step, and swallow a cancel
        # on Python 3.11 where they are for writing.
        timeout, settings["socket_timeout"] = settings["socket_timeout"], None
        backend._in_tasks = RedisInTasks(backend._site, None, settings, timeout)
        return backend

    # -- the three calls ---------------------------------------------------------------------------

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Give the lock to `token` unless another has it."""
        site = self._site
        if not site.tokens.acquires((name, token)):
            return Busy()
        fence = self._ask("try_acquire", ACQUIRE, for_seconds(ttl, site.prefix, name, token))
        site.tokens.was_answered((name, token))
        return site.granted(fence, ttl)

    def renew(self, name: str, token: str, ttl: float) -> bool:
        """Prolong the grant of `token`; return whether it still had it."""
        return self._ask("renew", RENEW, for_seconds(ttl, self._site.prefix, name, token)) == 1

    def release(self, name: str, token: str) -> bool:
        """Take the lock from `token`, for good; return whether it had it."""
        site = self._site
        # A client that was given may send an acquire again without telling.
        overtakes = site.tokens.releases((name, token)) or not self._is_ours
        try:
            return self._ask("release", RELEASE, to_end(site.prefix, name, token, overtakes)) == 1
        except BaseException:
            site.tokens.release_failed((name, token))
            raise

    def _ask(self, call: str, script: Script, command: Command) -> int:
        client, before = self._client, sys.exception()
        if client is None:
            raise self._no_client()
        try:
            try:
                return self._send(script.known, command)
            except answers.NoScriptError as unknown:  # to a server that is new, or was flushed
                unknown.__traceback__ = None  # a cycle that only the collector would break
                return self._send(script.whole, command)
        except FAILURES as error:
            if self._is_ours and ends_connections(error):
                self._hang_up()
            raise self._site.failure(call, error, before) from error

    def _send(self, form: Form, command: Command) -> int:
        """Return the answer to a command; with a client of ours in less time than it takes."""
        answer: int
        if not self._is_ours:
            answer = self._client.execute_command(*form.words, *command)
            return answer
        idle = self._idle
        connection = self._connection()
        try:
            connection.send_packed_command([form.request(command)])
            began_at, spun = monotonic(), self._is_near
            if spun:
                spin(partial(connection.can_read, 0))
            answer = connection.read_response()
            self._is_near = came_from_nearby(monotonic() - began_at, spun=spun)
            return answer
        except BaseException as error:
            if not isinstance(error, answers.ResponseError):
                # A signal may have struck between the two, and the answer be still to come.
                connection.disconnect()
            raise
        finally:
            idle.append((monotonic(), connection))
            if idle is not self._idle:  # they were to be closed meanwhile
                self._empty(idle)

    def _connection(self) -> Any:
        """Return a connection that is alive."""
        pool = self._client.connection_pool
        try:
            used, connection = self._idle.pop()
        except IndexError:
            return pool.get_connection(*FOR)
        if monotonic() - used < FRESH and connection.pid == os.getpid():
            return connection
        pool.release(connection)
        return pool.get_connection(*FOR)

    def _hang_up(self) -> None:
        """Have the next requests connect anew; those under way close theirs when they are done."""
        idle, self._idle = self._idle, []
        self._empty(idle)
        self._client.connection_pool.disconnect(inuse_connections=False)

    def _empty(self, idle: list[tuple[float, Any]]) -> None:
        with suppress(IndexError):
            while True:
                _, connection = idle.pop()
                connection.disconnect()
                self._client.connection_pool.release(connection)

    def _no_client(self) -> TypeError:
        return TypeError(f"{self} has a client for asyncio only; threads and trio need redis.Redis")

    # -- tasks -------------------------------------------------------------------------------------

    def native(self, host: str) -> AsyncBackend | None:
        """Return the calls for tasks of ``"asyncio"``; None for worker threads."""
        if host == "asyncio" and self._in_tasks is not None:
            return self._in_tasks
        if self._client is None:
            raise self._no_client()
        return None

    # -- the end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections that it made, those of event loops soon after; calls make new."""
        if self._is_ours:
            assert self._in_tasks is not None
            self._in_tasks.close_soon()
            self._hang_up()

    async def aclose(self) -> None:
        """Do what `close` does; those of this event loop have been closed on return."""
        if self._is_ours:
            assert self._in_tasks is not None
            await self._in_tasks.aclose()
        self.close()

    def __str__(self) -> str:
        return self._site.label

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._site.label!r})"
