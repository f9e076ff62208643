"""The servers of a run: the real ones that the tests use, started for it and ended with it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack, nullcontext
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

from .cells import BACKENDS
from .common import etcd_address, file_of

if TYPE_CHECKING:
    from tests.backends.servers.base import Server

__all__ = ["Servers"]

CLASSES = {
    "redis": "RedisServer",
    "file": "FileServer",
    "postgres": "PostgresServer",
    "etcd": "EtcdServer",
}
"""Their names, each in a module of `tests.backends.servers` that is called like the backend."""


DURABLE = {"fsync": "on", "full_page_writes": "on", "log_statement": "none"}
"""Settings of PostgreSQL as it has them by default; in the tests it is faster and says more."""


class Servers:
    """One server for each backend that is to be measured; those that fail to start are missing."""

    def __init__(self, backends: Collection[str]) -> None:
        self._wanted = [backend for backend in BACKENDS if backend in backends]
        self._running: dict[str, Server] = {}
        self._counts: dict[str, _Counts] = {}
        self._stack = ExitStack()
        self.missing: dict[str, str] = {}
        """Why those that are missing are."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for backend in self._wanted:
                try:
                    server = _started(backend, stack)
                except Exception as error:
                    self.missing[backend] = f"no server: {type(error).__name__}: {error}"
                    continue
                self._running[backend] = server
                if backend == "redis":
                    import redis

                    client = stack.enter_context(redis.Redis.from_url(server.url()))
                    self._counts[backend] = _Counts(client)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def __getitem__(self, backend: str) -> Server:
        return self._running[backend]

    def __contains__(self, backend: str) -> bool:
        return backend in self._running

    def versions(self) -> list[str]:
        """Return the name and the version of each, as it tells them itself."""
        return [f"{name} {_VERSIONS[name](server)}" for name, server in self._running.items()]

    def count(self, backend: str) -> dict[str, float]:
        """Return what a server counts, by metric: commands carried out and seconds of CPU."""
        counts = self._counts.get(backend)
        return {} if counts is None else counts.take()


class _Counts:
    """What Redis counts, without what it takes to ask it; nothing for the others."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._own = 0.0
        first = self._asked()["commands"]
        self._each = self._asked()["commands"] - first

    def take(self) -> dict[str, float]:
        counts = self._asked()
        counts["commands"] -= self._own
        self._own += self._each
        return counts

    def _asked(self) -> dict[str, float]:
        cpu, stats = self._client.info("cpu"), self._client.info("stats")
        return {
            "commands": stats["total_commands_processed"],
            "server cpu": cpu["used_cpu_user"] + cpu["used_cpu_sys"],
        }


def _started(backend: str, stack: ExitStack) -> Server:
    try:
        module = import_module(f"tests.backends.servers.{backend}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "tests":
            raise
        raise RuntimeError(
            "the servers are started by the package tests: run this in the root of the repository"
        ) from None
    server: Server = getattr(module, CLASSES[backend])()
    stack.callback(server.close)  # also of one that does not start
    with patch.dict(module.SETTINGS, DURABLE) if backend == "postgres" else nullcontext():
        server.start()
    return server


def _redis_version(server: Server) -> str:
    import redis

    with redis.Redis.from_url(server.url()) as client:
        info: Any = client.info("server")
    return str(info["redis_version"])


def _postgres_version(server: Server) -> str:
    import psycopg

    with psycopg.connect(server.url()) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row is not None
    return str(row[0])


def _etcd_version(server: Server) -> str:
    import httpx

    return str(httpx.get(f"{etcd_address(server.url())}/version").json()["etcdserver"])


def _file_system(server: Server) -> str:
    """Return the kind of the file system, the last that is mounted on the way to the directory."""
    directory = file_of(server.url(), "any").rpartition("/")[0]
    kind = ""
    try:
        with open("/proc/self/mounts") as lines:
            mounts = [line.split()[1:3] for line in lines]
    except OSError:
        return "on an unknown file system"
    longest = -1
    for point, name in mounts:
        inside = directory == point or directory.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:
            longest, kind = len(point), name
    return f"on {kind}"


_VERSIONS: dict[str, Callable[[Server], str]] = {
    "redis": _redis_version,
    "file": _file_system,
    "postgres": _postgres_version,
    "etcd": _etcd_version,
}
