"""Locks in Redis, and in what speaks its language: Valkey, KeyDB, most managed services.

What is kept there, and the scripts that change it, are in `_redis_scripts`; here are the clients
that send them, and what their failures mean.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import ssl
import sys
from asyncio import _get_running_loop
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
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
from ..distributed._within import within
from ..errors import BackendRefused, BackendUnavailable
from ..leases import AsyncBackend, Busy, Grant
from ._closing import ClosingInTasks
from ._redis_scripts import (
    ACQUIRE,
    BLOCK,
    PREFIX,
    RELEASE,
    RENEW,
    Script,
    checked_prefix,
    for_seconds,
    to_end,
)

__all__ = ["RedisBackend"]

CONNECTIONS = 100
"""How many of the requests of one event loop may be under way at once."""

_Client: TypeAlias = (
    redis.Redis | redis.RedisCluster | redis.asyncio.Redis | redis.asyncio.RedisCluster
)

_BUSY = Busy()

_TAKES = inspect.signature(redis.connection.AbstractConnection.__init__).parameters
_UNNAMED = MappingProxyType(
    {"driver_info": None} if "driver_info" in _TAKES else {"lib_name": None, "lib_version": None}
)
"""Options of connections that do not tell the server which library they are of: two requests, which
fail before Redis 7.2."""

_Pool: Any = redis.ConnectionPool
_NAMED = inspect.signature(_Pool.get_connection).parameters["command_name"].default
_FOR = ("EVALSHA",) if _NAMED is inspect.Parameter.empty else ()
"""What pools are asked for a connection with: the name of a command, before redis-py 5.3."""

_FAILURES = (answers.RedisError, answers.RedisClusterException, OSError)

# What it is of no use to ask again, and what will be answered otherwise at another time. Of what
# scripts report, and old clients, only the text tells; the rest of that is of no use either.
_LASTS = (
    answers.AuthenticationError,
    answers.AuthorizationError,
    answers.InvalidResponse,
    answers.MovedError,
)
_PASSES = (
    answers.AskError,
    answers.ClusterDownError,
    answers.ReadOnlyError,
    answers.TryAgainError,
)
_PASSES_TOO = re.compile(
    r"\b(?:READONLY|OOM|LOADING|BUSY|(?:CLUSTER|MASTER)DOWN|TRYAGAIN|ASK|NOREPLICAS|MISCONF)\b"
    r"|used memory > 'maxmemory'"
)


_AROUND = re.compile(r"^Error running script \(call to \w+\): (@user_script: ?\d+: )*-?")
_ECHO = re.compile(r",? with args beginning with.*", re.DOTALL)
"""Where a server repeats what it was sent, which may be a password."""


class _Site:
    """What a call consists of and how its failure is told, whichever client makes it."""

    __slots__ = ("label", "prefix", "secret")

    def __init__(self, prefix: str, label: str, secret: object) -> None:
        self.prefix: str = checked_prefix(prefix)
        self.label: str = label
        self.secret: str = secret if isinstance(secret, str) else ""

    def failure(
        self, call: str, error: Exception, before: BaseException | None
    ) -> BackendUnavailable | BackendRefused:
        """Return what a client's exception means, and take secrets out of it.

        `before` is the exception that was being handled when the call was made, if any.
        """
        links = list(_chain(error, before))
        for link in links:
            link.args = tuple(self._clean(arg) for arg in link.args)
        reason = _AROUND.sub("", str(error)) or "no answer in time"
        if isinstance(error, answers.MovedError) or reason.startswith("MOVED"):
            reason += ": it is a cluster, and wants RedisBackend(redis.RedisCluster(...))"
        kind = BackendUnavailable if _passes(links) else BackendRefused
        return kind(self.label, call, reason)

    def _clean(self, fact: Any) -> Any:
        if not isinstance(fact, str):
            return fact
        fact = _ECHO.sub("", fact)
        return fact.replace(self.secret, "***") if self.secret else fact


def _chain(error: BaseException | None, end: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that led to it, up to `end`."""
    while error is not None and error is not end:
        yield error
        error = error.__cause__ or error.__context__


def _passes(links: list[BaseException]) -> bool:
    """Return whether asking again may be of use, after an exception with these links."""
    for link in links:
        if isinstance(link, _LASTS):
            return False
        if isinstance(link, _PASSES):
            return True
        if isinstance(link, answers.ResponseError):
            return _PASSES_TOO.search(str(link)) is not None
        if isinstance(link, ssl.SSLError):
            # No server of that name, or none that encrypts.
            return link.reason not in {"CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER"}
    return True


def _is_demoted(error: Exception) -> bool:
    """Return whether a server says that it is a replica."""
    return isinstance(error, answers.ReadOnlyError) or "READONLY" in str(error)


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
                raise TypeError(f"clients must be those of redis-py, not {client!r}")
            by_kind[inspect.iscoroutinefunction(call)] = client
        if not clients or len(by_kind) != len(clients):
            raise TypeError("clients must be one for threads, one for asyncio, or one of each")
        self._client: Any = by_kind.get(False)
        self._site = _Site(prefix, *_described(clients[0]))
        self._in_tasks: RedisInTasks | None = None
        if True in by_kind:
            self._in_tasks = RedisInTasks(self._site, by_kind[True])
        self._is_ours = False
        """Whether it has made its clients."""

    @classmethod
    def from_url(
        cls, url: str, *, request_timeout: Duration = 5.0, prefix: str = PREFIX, **options: Any
    ) -> Self:
        """Return a backend with clients of its own; nothing is sent before the first call.

        `url` is ``redis://user:password@host:port/db``, ``rediss://`` for TLS, or
        ``unix:///path/of/socket?db=0``, with options of redis-py's connections behind a ``?``.
        `options` are such too; the URL's go first. `request_timeout`: seconds after which a request
        counts as not answered. Raises ValueError for a URL that is none, and TypeError for an
        option that redis-py does not know.
        """
        seconds = duration("request_timeout", request_timeout)
        if not seconds:
            raise ValueError("request_timeout must be more than 0 seconds")
        # Every server speaks version 2, and it needs no request to agree upon.
        options = {"protocol": 2, "socket_timeout": seconds, **_UNNAMED, **options}
        settings: dict[str, Any] = {**options, **_parsed(redis.connection, url)}
        settings.setdefault("retry", Retry(NoBackoff(), 0))
        if "path" not in settings:
            settings.setdefault("socket_connect_timeout", settings["socket_timeout"])
        limit = settings.pop("max_connections", None)
        pool = _Pool(max_connections=limit or 2**31, **settings)  # a thread has one at a time
        try:
            pool.connection_class(**pool.connection_kwargs)
        except TypeError as error:
            unknown = str(error).rpartition(" ")[2]
            raise TypeError(f"connections of redis-py have no option {unknown}") from None
        backend = cls(redis.Redis.from_pool(pool), prefix=prefix)
        backend._is_ours = True
        settings = {
            **settings,
            **_parsed(redis.asyncio.connection, url),
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
        command = for_seconds(ttl, self._site.prefix, name, token)
        fence = self._ask("try_acquire", ACQUIRE, command)
        return Grant(fence, ttl, fence + BLOCK - 1) if fence else _BUSY

    def renew(self, name: str, token: str, ttl: float) -> bool:
        """Prolong the grant of `token`; return whether it still had it."""
        command = for_seconds(ttl, self._site.prefix, name, token)
        return self._ask("renew", RENEW, command) == 1

    def release(self, name: str, token: str) -> bool:
        """Take the lock from `token`, for good; return whether it had it."""
        command = to_end(self._site.prefix, name, token)
        return self._ask("release", RELEASE, command) == 1

    def _sent(self, pool: Any, request: bytes) -> int:
        """Do what the client does for a command: that takes longer than the server does."""
        connection = pool.get_connection(*_FOR)
        try:
            connection.send_packed_command([request])
            answer: int = connection.read_response()
            return answer
        finally:
            pool.release(connection)

    def _ask(self, call: str, script: Script, command: tuple[Any, ...]) -> int:
        client, before = self._client, sys.exception()
        if client is None:
            raise self._no_client()
        try:
            try:
                if self._is_ours:
                    return self._sent(client.connection_pool, script.request(command))
                answer: int = client.execute_command("EVALSHA", script.sha, *command)
            except answers.NoScriptError as unknown:  # to a server that is new, or was flushed
                unknown.__traceback__ = None  # a cycle that only the collector would break
                answer = client.execute_command("EVAL", script.text, *command)
            return answer
        except _FAILURES as error:
            if self._is_ours and _is_demoted(error):
                # It was the primary once. Its name may lead to another now.
                client.connection_pool.disconnect(inuse_connections=False)
            raise self._site.failure(call, error, before) from error
        except BaseException:
            # A signal may have struck between request and answer, and the connection be back in the
            # pool, with an answer to come that the next request would take for its own.
            if self._is_ours:
                client.connection_pool.disconnect(inuse_connections=False)
            raise

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
            self._client.close()

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


class RedisInTasks:
    """The three calls as coroutines, for tasks of asyncio.

    With a client that was given it uses that. Else it makes one for each event loop, since
    connections belong to theirs, and none of a loop that was closed is ever used again.
    """

    def __init__(
        self,
        site: _Site,
        client: Any,
        settings: dict[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        self._site = site
        self._given = None if client is None else _OnLoop(client, nullcontext())
        self._settings = settings
        self._timeout = timeout
        self._loops: dict[asyncio.AbstractEventLoop, _OnLoop] = {}

    async def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Give the lock to `token` unless another has it."""
        command = for_seconds(ttl, self._site.prefix, name, token)
        fence = await self._ask("try_acquire", ACQUIRE, command)
        return Grant(fence, ttl, fence + BLOCK - 1) if fence else _BUSY

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        """Prolong the grant of `token`; return whether it still had it."""
        command = for_seconds(ttl, self._site.prefix, name, token)
        return await self._ask("renew", RENEW, command) == 1

    async def release(self, name: str, token: str) -> bool:
        """Take the lock from `token`, for good; return whether it had it."""
        command = to_end(self._site.prefix, name, token)
        return await self._ask("release", RELEASE, command) == 1

    async def _in_turn(self, here: _OnLoop, script: Script, command: tuple[Any, ...]) -> int:
        async with here.turns:
            try:
                if here is not self._given:
                    return await self._sent(here.client.connection_pool, script.request(command))
                answer: int = await here.client.execute_command("EVALSHA", script.sha, *command)
            except answers.NoScriptError as unknown:
                unknown.__traceback__ = None
                answer = await here.client.execute_command("EVAL", script.text, *command)
            return answer

    async def _sent(self, pool: Any, request: bytes) -> int:
        """Do what the client does for a command: that takes longer than the server does."""
        connection = await pool.get_connection(*_FOR)
        try:
            await connection.send_packed_command([request])
            answer: int = await connection.read_response()
            return answer
        finally:
            await pool.release(connection)

    async def _ask(self, call: str, script: Script, command: tuple[Any, ...]) -> int:
        before = sys.exception()
        here = self._given or self._on(asyncio.get_running_loop())
        try:
            return await within(self._timeout, self._in_turn(here, script, command))
        except _FAILURES as error:
            if here is not self._given and _is_demoted(error):
                with suppress(*_FAILURES):
                    await here.client.connection_pool.disconnect(inuse_connections=False)
            raise self._site.failure(call, error, before) from error

    def _on(self, loop: asyncio.AbstractEventLoop) -> _OnLoop:
        """Return the client of an event loop, which is closed with the loop if not before."""
        here = self._loops.get(loop)
        if here is not None:
            return here
        for other in list(self._loops):
            if other.is_closed():
                self._loops.pop(other, None)
        assert self._settings is not None
        pool = redis.asyncio.ConnectionPool(**self._settings)
        client = redis.asyncio.Redis.from_pool(pool)
        here = _OnLoop(client, asyncio.Semaphore(pool.max_connections), _closed_at_last(client))
        assert here.open is not None
        with suppress(StopIteration):  # it has come to its yield, and the loop knows it
            here.open.__anext__().send(None)
        self._loops[loop] = here
        return here

    def close_soon(self) -> None:
        """Have the event loops close their clients."""
        # They do so for a generator that nobody has any more.
        self._loops.clear()

    async def aclose(self) -> None:
        """Close the client of the running event loop."""
        loop = _get_running_loop()
        here = None if loop is None else self._loops.pop(loop, None)
        if here is not None and here.open is not None:
            await here.open.aclose()

    def __str__(self) -> str:
        return self._site.label


@dataclass(slots=True)
class _OnLoop:
    """A client in use on one event loop."""

    client: Any
    turns: AbstractAsyncContextManager[object]
    """A request is sent in here: otherwise the client would refuse it for want of connections."""
    open: AsyncGenerator[None] | None = None
    """Closes the client when it is closed itself."""


async def _closed_at_last(client: Any) -> AsyncGenerator[None]:
    """Close a client when this generator is closed: by its event loop, if by nobody before."""
    try:
        yield
    finally:
        await client.aclose()


def _parsed(module: Any, url: str) -> dict[str, Any]:
    scheme, mark, rest = url.partition("://")
    try:
        settings: dict[str, Any] = module.parse_url(scheme.lower() + mark + rest)
    except ValueError:
        # Its text may have a part of the password that was taken for a port.
        raise ValueError(
            "a URL of Redis is redis://user:password@host:port/db, rediss://… for TLS or "
            "unix:///path?db=0, with what is special in a password written as %XX"
        ) from None
    return settings


def _described(client: Any) -> tuple[str, object]:
    """Return where a client leads to, without its password, and that."""
    pool: Any = getattr(client, "connection_pool", None)
    settings: dict[str, Any] = getattr(pool, "connection_kwargs", {})
    database = settings.get("db") or 0
    if "path" in settings:
        label = f"unix://{settings['path']}?db={database}"
    elif hasattr(pool, "service_name"):
        label = f"redis service {pool.service_name!r} of Sentinel, db {database}"
    elif isinstance(client, redis.Redis | redis.asyncio.Redis):
        encrypts = "SSL" in pool.connection_class.__name__
        host, port = settings.get("host", "localhost"), settings.get("port", 6379)
        label = f"redis{'s' * encrypts}://{f'[{host}]' if ':' in host else host}:{port}/{database}"
    else:
        label = type(client).__name__
    return label, settings.get("password")
