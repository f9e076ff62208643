"""What the tests know of a server: it starts, it dies, and it can be asked past the locks."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

__all__ = ["Server", "free_port"]


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server(ABC):
    """One real server process, or directory, on loopback."""

    name: ClassVar[str]
    """``"redis"``, ``"postgres"``, ``"etcd"`` or ``"file"``."""
    port: int
    """Where it listens; 0 for files."""

    @abstractmethod
    def start(self) -> None:
        """Start it, and return when it answers; its data and its port outlast restarts."""

    @abstractmethod
    def stop(self) -> None:
        """Kill it; `start` after that is a restart."""

    @abstractmethod
    def close(self) -> None:
        """Stop it and delete its data."""

    @abstractmethod
    def url(self, port: int | None = None) -> str:
        """Return the URL for `backofflock.connect`; `port` is that of a proxy in front of it."""

    @abstractmethod
    def is_free(self, lock: str) -> bool:
        """Ask the server directly whether nobody has the lock."""

    @abstractmethod
    def steal(self, lock: str) -> None:
        """Take the lock away from its holder, on the server."""

    @abstractmethod
    def commands(self) -> int:
        """Return how many requests it has served, by its own statistics.

        Raises NotImplementedError where it keeps none.
        """

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
