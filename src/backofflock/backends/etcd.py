"""Locks in etcd v3, by the JSON gateway of its members: asyncio, trio and threads need only HTTP.

`_etcd_calls.py` has what is asked, `_etcd_gateway.py` how; here are the connections.
"""

from __future__ import annotations

import os
import ssl
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit
from weakref import WeakKeyDictionary, finalize, ref

import httpx
from anyio.lowlevel import current_token

from .._checks import Duration, duration
from ..leases import AsyncBackend, Busy, Grant
from ._closing import ClosingInTasks
from ._etcd_calls import Calls
from ._etcd_gateway import Cluster, Response, Steps, Unanswered
from ._tls import is_refusal, refuse_missing
from ._urls import ends_in_password

__all__ = ["EtcdBackend"]

T = TypeVar("T")

PREFIX = "backofflock/"

PORT = 2379

UNSENT = httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout
"""Errors after which the request was certainly not sent."""

FAILURES = (httpx.HTTPError, ssl.SSLError)
"""What httpx raises; what comes of TLS only with the first answer it passes on as it is."""

# httpx loads its transport when it makes the first, which would be in somebody's event loop.
httpx.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

IDLE = 20
"""Connections that each client keeps while they are not in use."""


class EtcdBackend(ClosingInTasks):
    """Locks in etcd v3.

    >>> EtcdBackend("http://etcd-1:2379", "http://etcd-2:2379", username="app", password="secret")
    EtcdBackend('etcd://app@etcd-1:2379,etcd-2:2379/backofflock/')

    Arguments:
    - `urls`: of members, ``http://`` or ``https://``; after a failure the next one is asked.
    - `username`, `password`: for etcd's own authentication.
    - `prefix`: of the keys.
    - `verify`, `cert`: for TLS. An `ssl.SSLContext`, the file of authorities to trust instead of
      the system's, or False to trust anybody; the file of a client's certificate, or a pair of it
      and the file of its key.
    - `request_timeout`: seconds that etcd may take to let itself be connected to, and to answer.
    - `client`, `async_client`: of yours, used instead of its own; they are not closed, and the two
      arguments above are theirs. With a `client` alone, tasks use that in worker threads; with an
      `async_client` alone, threads have none.

    Nothing is connected before the first call. What is connected is closed by `close` or `aclose`,
    and at the latest when the event loop ends, or with the last reference for threads.
    """

    def __init__(
        self,
        *urls: str,
        username: str | None = None,
        password: str | None = None,
        prefix: str = PREFIX,
        verify: ssl.SSLContext | str | bool = True,
        cert: str | tuple[str, str] | None = None,
        request_timeout: Duration = 5.0,
        client: httpx.Client | None = None,
        async_client: httpx.AsyncClient | None = None,
    ) -> None:
        seconds = duration("request_timeout", request_timeout)
        if seconds == 0.0:
            raise ValueError(f"request_timeout must be more than 0 seconds, not {request_timeout}")
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str such as {PREFIX!r}, not {prefix!r}")
        if (username is None) != (password is None):
            raise ValueError("username and password go together: one of them is missing")
        places = [_place(url) for url in urls]
        if not places:
            raise ValueError("a URL is needed, such as 'http://localhost:2379'")
        encrypts = any(url.startswith("https:") for url in urls)
        user = "" if username is None else f"{username}@"
        label = f"etcd{'s' * encrypts}://{user}{','.join(places)}/{prefix}"
        login = None if username is None or password is None else (username, password)
        self._cluster = Cluster([url.rstrip("/") for url in urls], label, login)
        self._label = label
        self._calls = Calls(self._cluster, prefix)
        self._given, self._given_async = client, async_client
        self._settings: dict[str, Any] = {
            "verify": _context(verify, cert, encrypts),
            # A member that cannot be reached has to leave time for the others.
            "timeout": httpx.Timeout(seconds, connect=seconds / len(urls)),
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=IDLE),
            "trust_env": False,  # a proxy to the web leads to no etcd
        }
        self._mutex = threading.RLock()  # a finalizer or signal handler may come in between
        self._opened: _Opened | None = None

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return the backend of ``etcd://user:password@host:2379,host2:2379/prefix``.

        ``etcds://`` is TLS, with files of your own by ``?verify=…&cert=…&key=…``. `options` are the
        keyword arguments of the class.
        """
        try:
            if ends_in_password(url):
                raise ValueError("a part of the password would be taken for something else")
            parts = urlsplit(url)
            scheme = {"etcd": "http", "etcds": "https"}[parts.scheme]
            login, _, hosts = parts.netloc.rpartition("@")
            urls = [f"{scheme}://{_place(f'{scheme}://{host}')}" for host in hosts.split(",")]
            query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
            if parts.fragment or not query.keys() <= {"verify", "cert", "key"}:
                raise ValueError("something is left over")
        except (KeyError, ValueError):
            # The causes may have a part of a password that was taken for a port.
            raise ValueError(
                "a URL of etcd is etcd://user:password@host:2379,host2:2379/prefix, or etcds://… "
                "with ?verify=FILE&cert=FILE&key=FILE; what is special in it is written as %XX"
            ) from None
        found: dict[str, Any] = {}
        if login:
            username, _, password = login.partition(":")
            found.update(username=unquote(username), password=unquote(password))
        if prefix := unquote(parts.path).strip("/"):
            found["prefix"] = f"{prefix}/"
        if "verify" in query:
            found["verify"] = query["verify"]
        if "cert" in query:
            found["cert"] = (query["cert"], query["key"]) if "key" in query else query["cert"]
        return cls(*urls, **(found | options))

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Give the lock to `token` unless another has it."""
        return self._carry_out(self._calls.try_acquire(name, token, ttl))

    def renew(self, name: str, token: str, ttl: float) -> bool:
        """Prolong the grant of `token`; return whether it still had it."""
        return self._carry_out(self._calls.renew(name, token, ttl))

    def release(self, name: str, token: str) -> bool:
        """Take the lock from `token`, for good; return whether it had it."""
        return self._carry_out(self._calls.release(name, token))

    def native(self, host: str) -> AsyncBackend | None:
        """Return the calls for tasks, of asyncio and trio alike; None for worker threads."""
        if self._given is not None and self._given_async is None:
            return None
        return EtcdInTasks(self)

    def _carry_out(self, steps: Steps[T]) -> T:
        before = sys.exception()
        try:
            with self._client() as client:
                url, content, headers = next(steps)
                while True:
                    try:
                        response = client.post(url, content=content, headers=headers)
                    except FAILURES as error:
                        url, content, headers = steps.throw(_unanswered(error, before))
                    else:
                        answer = Response(response.status_code, response.text)
                        url, content, headers = steps.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            steps.close()

    def _client(self) -> AbstractContextManager[httpx.Client]:
        """Return the client for threads of this process: a fork must not share its connections."""
        if self._given is not None:
            return nullcontext(self._given)
        if self._given_async is not None:
            raise TypeError(f"{self} has a client for tasks only; threads need an httpx.Client")
        with self._mutex:
            while True:
                opened = self._opened
                if opened is None or opened.pid != os.getpid():
                    opened = self._opened = _Opened(self)
                opened.users.append(None)  # before the look: `end` does it in reverse
                if not opened.is_over:
                    return opened
                opened.users.pop()

    def close(self) -> None:
        """Close the connections of threads, in use ones after that. Later calls open new ones."""
        with self._mutex:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.end()

    async def aclose(self) -> None:
        """Close those of the running event loop too; other loops close theirs when they end."""
        self.close()
        loop = _loops.get(_running_loop())
        if loop is not None:
            await loop.close(self)

    def __str__(self) -> str:
        return self._label

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._label!r})"


class EtcdInTasks:
    """The three calls as coroutines, for any event loop."""

    def __init__(self, backend: EtcdBackend) -> None:
        self._backend = backend
        self._calls = backend._calls

    async def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Give the lock to `token` unless another has it."""
        return await self._carry_out(self._calls.try_acquire(name, token, ttl))

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        """Prolong the grant of `token`; return whether it still had it."""
        return await self._carry_out(self._calls.renew(name, token, ttl))

    async def release(self, name: str, token: str) -> bool:
        """Take the lock from `token`, for good; return whether it had it."""
        return await self._carry_out(self._calls.release(name, token))

    async def _carry_out(self, steps: Steps[T]) -> T:
        before = sys.exception()
        try:
            url, content, headers = next(steps)
            while True:
                client = self._backend._given_async or await _client_here(self._backend)
                request = client.build_request("POST", url, content=content, headers=headers)
                request.stream = _Body(content)
                try:
                    response = await client.send(request)
                except FAILURES as error:
                    url, content, headers = steps.throw(_unanswered(error, before))
                except RuntimeError:
                    if not client.is_closed or client is self._backend._given_async:
                        raise
                    # It was closed between two requests: the next one has another client.
                else:
                    answer = Response(response.status_code, response.text)
                    url, content, headers = steps.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            steps.close()

    def __str__(self) -> str:
        return str(self._backend)


class _Opened:
    """A client for threads, which is closed once it is to be and nobody uses it."""

    def __init__(self, backend: EtcdBackend) -> None:
        self.pid = os.getpid()
        self.client = httpx.Client(**backend._settings)
        self._close = finalize(backend, _close, self.client, self.pid)
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


class _Body(httpx.AsyncByteStream):
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

    Those of backends that are gone are closed when the next client is made, since nobody else can.
    """

    def __init__(self) -> None:
        self._clients: list[tuple[ref[EtcdBackend], httpx.AsyncClient]] = []
        self.end = self._closing_at_the_end()

    async def client(self, backend: EtcdBackend) -> httpx.AsyncClient:
        """Return the client of a backend in this loop, the running one."""
        for owner, client in self._clients:
            if owner() is backend:
                return client
        client = httpx.AsyncClient(**backend._settings)
        self._clients.append((ref(backend), client))
        await self.close(None)
        return client

    async def close(self, backend: EtcdBackend | None) -> None:
        """Close the clients of a backend; None stands for those that are gone."""
        clients = self._clients
        self._clients = [entry for entry in clients if entry[0]() is not backend]
        for owner, client in clients:
            if owner() is backend:
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


async def _client_here(backend: EtcdBackend) -> httpx.AsyncClient:
    running = _running_loop()
    loop = _loops.get(running)
    if loop is None:
        with _loops_mutex:
            for other in list(_loops):
                if getattr(other, "is_closed", bool)():  # without having closed its generators
                    del _loops[other]
            loop = _loops[running] = _Loop()
        await anext(loop.end)
    return await loop.client(backend)


def _close(client: httpx.Client, pid: int) -> None:
    if pid == os.getpid():
        client.close()


def _unanswered(error: Exception, before: BaseException | None) -> Unanswered:
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


def _place(url: str) -> str:
    """Return host and port of a URL; ValueError if it is none."""
    if isinstance(url, str) and "@" in url:
        raise ValueError("give username= and password= instead of putting them into a URL")
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise ValueError("something is missing, or left over")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"{host}:{parts.port or PORT}"
    except (AttributeError, TypeError, ValueError):  # the causes may repeat it
        raise ValueError("a URL of a member is 'http://host:2379' or 'https://host:2379'") from None


def _context(
    verify: ssl.SSLContext | str | bool, cert: str | tuple[str, str] | None, encrypts: bool
) -> ssl.SSLContext:
    if isinstance(verify, ssl.SSLContext):
        return verify
    if not encrypts:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing is loaded for what is not used
    refuse_missing(verify, *((cert,) if isinstance(cert, str) else cert or ()))
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    return context
