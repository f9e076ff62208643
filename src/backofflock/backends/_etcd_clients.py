"""The HTTP clients of the etcd backend: what threads share, and what each event loop has.

Each has an owner, of which nothing is known here but whether it is still there. What their errors
mean is here too.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from weakref import WeakKeyDictionary, finalize, ref

import httpx
from anyio.lowlevel import current_token

from ._etcd_gateway import Unanswered
from ._tls import is_refusal

__all__ = ["FAILURES", "Body", "Opened", "as_unanswered", "client_here", "close_here"]

UNSENT = httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout
"""Errors after which the request was certainly not sent."""

FAILURES = (httpx.HTTPError, ssl.SSLError)
"""What httpx raises; what comes of TLS only with the first answer it passes on as it is."""

# httpx loads its transport when it makes the first, which would be in somebody's event loop.
httpx.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


# -- threads ---------------------------------------------------------------------------------------


class Opened:
    """A client for threads, which is closed once it is to be and nobody uses it."""

    def __init__(self, owner: object, settings: dict[str, Any]) -> None:
        self.pid = os.getpid()
        self.client = httpx.Client(**settings)
        self._close = finalize(owner, _close, self.client, self.pid)
        self.users: deque[None] = deque()
        """One for each that is about to use it, in a ``with`` statement, or does."""
        self.is_over = False

    def __enter__(self) -> httpx.Client:
        return self.client

    def __exit__(self, *_: object) -> None:
        self.users.pop()
        if self.is_over and not self.users:
            self._close()

    def end(self) -> None:
        """Close it, or have the last one that uses it do so."""
        self.is_over = True  # before the look: whoever leaves does it in reverse
        if not self.users:
            self._close()


def _close(client: httpx.Client, pid: int) -> None:
    if pid == os.getpid():
        client.close()


# -- event loops -----------------------------------------------------------------------------------


class Body(httpx.AsyncByteStream):
    """The body of a request. That of httpx is a generator: trio warns if a cancel cuts it short."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._left: list[bytes] = []

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._left = [self._content]
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class _Loop:
    """The clients of one event loop. It closes them when it ends, as it does with its generators.

    Those of owners that are gone are closed when the next client is made, since nobody else can.
    """

    def __init__(self) -> None:
        self._clients: list[tuple[ref[object], httpx.AsyncClient]] = []
        self.end = self._closing_at_the_end()

    async def client(self, owner: object, settings: dict[str, Any]) -> httpx.AsyncClient:
        """Return the client of an owner in this loop, the running one."""
        for known, client in self._clients:
            if known() is owner:
                return client
        client = httpx.AsyncClient(**settings)
        self._clients.append((ref(owner), client))
        await self.close(None)
        return client

    async def close(self, owner: object | None) -> None:
        """Close the clients of an owner; None stands for those that are gone."""
        clients = self._clients
        self._clients = [entry for entry in clients if entry[0]() is not owner]
        for known, client in clients:
            if known() is owner:
                await client.aclose()

    async def _closing_at_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            clients, self._clients = self._clients, []
            for _, client in clients:
                await client.aclose()


_loops: WeakKeyDictionary[object, _Loop] = WeakKeyDictionary()
_loops_mutex = threading.Lock()


def _running_loop() -> object:
    token = current_token()
    return getattr(token, "native_token", token)  # anyio before 4.11 gives that itself


async def client_here(owner: object, settings: dict[str, Any]) -> httpx.AsyncClient:
    """Return the client of an owner in the running event loop, which closes it when it ends."""
    running = _running_loop()
    loop = _loops.get(running)
    if loop is None:
        with _loops_mutex:
            for other in list(_loops):
                if getattr(other, "is_closed", bool)():  # without having closed its generators
                    del _loops[other]
            loop = _loops[running] = _Loop()
        await anext(loop.end)
    return await loop.client(owner, settings)


async def close_here(owner: object) -> None:
    """Close the client of an owner in the running event loop."""
    loop = _loops.get(_running_loop())
    if loop is not None:
        await loop.close(owner)


# -- errors ----------------------------------------------------------------------------------------


def as_unanswered(error: Exception, before: BaseException | None) -> Unanswered:
    """Return what a client's error says; `before` was handled already when it came."""
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) not in (None, before):
        assert deeper is not None
        cause = deeper
    said = str(error) or (str(cause) if isinstance(cause, OSError) else "")
    unanswered = Unanswered(
        f"{type(error).__name__}: {said}".removesuffix(": "),
        was_sent=not isinstance(error, UNSENT),
        is_hopeless=isinstance(cause, ssl.SSLError) and is_refusal(cause),
    )
    unanswered.__cause__ = error
    return unanswered
