"""The calls to Redis as coroutines, for tasks of asyncio."""

from __future__ import annotations

import asyncio
import sys
from asyncio import _get_running_loop
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import redis.asyncio
from redis import exceptions as answers

from ..distributed._within import within
from ..leases import Busy, Grant
from ._redis_scripts import (
    ACQUIRE,
    RELEASE,
    RENEW,
    Command,
    Form,
    Script,
    for_seconds,
    to_end,
)
from ._redis_site import FAILURES, FOR, FRESH, Site, ends_connections
from ._spin import Awake, came_from_nearby

__all__ = ["RedisInTasks"]


class RedisInTasks:
    """The three calls as coroutines, for tasks of asyncio.

    With a client that was given it uses that. Else it makes one for each event loop, since
    connections belong to theirs, and none of a loop that was closed is ever used again.
    """

    def __init__(
        self,
        site: Site,
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
        site = self._site
        if not site.tokens.acquires((name, token)):
            return Busy()
        fence = await self._ask("try_acquire", ACQUIRE, for_seconds(ttl, site.prefix, name, token))
        site.tokens.was_answered((name, token))
        return site.granted(fence, ttl)

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        """Prolong the grant of `token`; return whether it still had it."""
        command = for_seconds(ttl, self._site.prefix, name, token)
        return await self._ask("renew", RENEW, command) == 1

    async def release(self, name: str, token: str) -> bool:
        """Take the lock from `token`, for good; return whether it had it."""
        site = self._site
        overtakes = site.tokens.releases((name, token)) or self._given is not None
        command = to_end(site.prefix, name, token, overtakes)
        try:
            return await self._ask("release", RELEASE, command) == 1
        except BaseException:
            site.tokens.release_failed((name, token))
            raise

    async def _in_turn(self, here: _OnLoop, script: Script, command: Command) -> int:
        async with here.turns:
            try:
                return await self._send(here, script.known, command)
            except answers.NoScriptError as unknown:
                unknown.__traceback__ = None
                return await self._send(here, script.whole, command)

    async def _send(self, here: _OnLoop, form: Form, command: Command) -> int:
        """Do what `RedisBackend` does to send a command."""
        answer: int
        if here is self._given:
            answer = await here.client.execute_command(*form.words, *command)
            return answer
        connection = await here.connection()
        try:
            await connection.send_packed_command([form.request(command)])
            began_at, spun = monotonic(), here.is_near
            with Awake() if spun else nullcontext():
                answer = await connection.read_response()
            here.is_near = came_from_nearby(monotonic() - began_at, spun=spun)
            return answer
        except BaseException as error:
            # A signal may have struck between the two. Of a cancel redis-py would see to that, and
            # nobody can once the event loop is gone.
            if not isinstance(error, answers.ResponseError | GeneratorExit):
                await connection.disconnect(nowait=True)
            raise
        finally:
            here.idle.append((monotonic(), connection))

    async def _ask(self, call: str, script: Script, command: Command) -> int:
        before = sys.exception()
        here = self._given or self._on(asyncio.get_running_loop())
        try:
            return await within(self._timeout, self._in_turn(here, script, command))
        except FAILURES as error:
            if here is not self._given and ends_connections(error):
                with suppress(*FAILURES):
                    await here.hang_up()
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
    is_near: bool = True
    """Whether the server answers so soon that its answers are spun for."""
    idle: list[tuple[float, Any]] = field(default_factory=list[tuple[float, Any]])
    """Connections of a client of ours that nobody uses, and when they were used, see `FRESH`."""

    async def connection(self) -> Any:
        """Return a connection that is alive."""
        pool = self.client.connection_pool
        if self.idle:
            used, connection = self.idle.pop()
            if monotonic() - used < FRESH:
                return connection
            await pool.release(connection)
        return await pool.get_connection(*FOR)

    async def hang_up(self) -> None:
        """Have the next requests connect anew."""
        pool = self.client.connection_pool
        while self.idle:
            await pool.release(self.idle.pop()[1])
        await pool.disconnect(inuse_connections=False)


async def _closed_at_last(client: Any) -> AsyncGenerator[None]:
    """Close a client when this generator is closed: by its event loop, if by nobody before."""
    try:
        yield
    finally:
        await client.aclose()
