"""Locks in etcd v3, by the JSON gateway of its members: asyncio, trio and threads need only HTTP.

`_etcd_calls.py` has what is asked and `_etcd_gateway.py` how, `_etcd_leases.py` what is known of
leases meanwhile, and `_etcd_clients.py` the connections. Here are the backend, its URL and its
settings.
"""

from __future__ import annotations

import os
import ssl
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx

from .._checks import Duration, duration
from ..leases import AsyncBackend, Busy, Grant
from ._closing import ClosingInTasks
from ._etcd_calls import Calls
from ._etcd_clients import FAILURES, Body, Opened, as_unanswered, client_here, close_here
from ._etcd_gateway import Cluster, Response, Steps
from ._tls import refuse_missing
from ._urls import ends_in_password

__all__ = ["EtcdBackend"]

T = TypeVar("T")

PREFIX = "backofflock/"

PORT = 2379

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
        self._opened: Opened | None = None

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
                        url, content, headers = steps.throw(as_unanswered(error, before))
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
                    opened = self._opened = Opened(self, self._settings)
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
        await close_here(self)

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
        backend, before = self._backend, sys.exception()
        try:
            url, content, headers = next(steps)
            while True:
                client = backend._given_async or await client_here(backend, backend._settings)
                request = client.build_request("POST", url, content=content, headers=headers)
                request.stream = Body(content)
                try:
                    response = await client.send(request)
                except FAILURES as error:
                    url, content, headers = steps.throw(as_unanswered(error, before))
                except RuntimeError:
                    if not client.is_closed or client is backend._given_async:
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
