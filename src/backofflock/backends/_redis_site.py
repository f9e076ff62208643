"""Where requests to Redis go, and what it means if they fail, whichever client sends them."""

from __future__ import annotations

import inspect
import re
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio
from redis import exceptions as answers

from ..errors import BackendRefused, BackendUnavailable
from ..leases import Busy, Grant
from ._redis_scripts import BLOCK, checked_prefix
from ._tls import is_refusal
from ._tokens import Tokens
from ._urls import ends_in_password

__all__ = ["FAILURES", "FOR", "FRESH", "Site", "described", "ends_connections", "parsed"]

_BUSY = Busy()

_Pool: Any = redis.ConnectionPool
FRESH = 1.0
"""Seconds after its last use for which a connection is taken for alive. A pool looks each time, and
takes nearly as long for that as for a request."""

_NAMED = inspect.signature(_Pool.get_connection).parameters["command_name"].default
FOR = ("EVALSHA",) if _NAMED is inspect.Parameter.empty else ()
"""What pools are asked for a connection with: the name of a command, before redis-py 5.3."""

FAILURES = (answers.RedisError, answers.RedisClusterException, OSError)

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


class Site:
    """What a call consists of and how its failure is told, whichever client makes it."""

    __slots__ = ("label", "prefix", "secret", "tokens")

    def __init__(self, prefix: str, label: str, secret: object) -> None:
        self.tokens = Tokens()
        self.prefix: str = checked_prefix(prefix)
        self.label: str = label
        self.secret: str = secret if isinstance(secret, str) else ""

    def granted(self, fence: int, ttl: float) -> Grant | Busy:
        """Return what the answer to an acquire means."""
        return Grant(fence, ttl, fence + BLOCK - 1) if fence else _BUSY

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
            return not is_refusal(link)
    return True


def ends_connections(error: Exception) -> bool:
    """Return whether the server has gone, or has become a replica: its name may lead to another."""
    gone = isinstance(error, answers.ConnectionError | answers.ReadOnlyError)
    return gone or "READONLY" in str(error)


def parsed(module: Any, url: str) -> dict[str, Any]:
    scheme, mark, rest = url.partition("://")
    try:
        if ends_in_password(url):
            raise ValueError("a part of the password would be taken for something else")
        settings: dict[str, Any] = module.parse_url(scheme.lower() + mark + rest)
        database = "" if scheme.lower() == "unix" else urlsplit(url).path.strip("/")
        if database and not database.isdecimal():  # redis-py would take 0 then
            raise ValueError("the path is no number of a database")
    except ValueError:
        # Its text may have a part of the password that was taken for a port.
        raise ValueError(
            "a URL of Redis is redis://user:password@host:port/db, rediss://… for TLS or "
            "unix:///path?db=0, with what is special in a password written as %XX"
        ) from None
    return settings


def described(client: Any) -> tuple[str, object]:
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
