"""The servers of the tests: one of each kind for a whole run, started when it is first needed.

A server that cannot be started fails the tests that need it; none is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module

import pytest

from .proxy import Proxy
from .servers.base import Server
from .tls import Identities, identities_in

__all__ = ["identities", "proxy", "server", "server_of"]


@pytest.fixture(scope="session")
def server_of() -> Iterator[Callable[[str], Server]]:
    """Return what starts the server of a backend, or gives the one that runs, by its name."""
    servers: dict[str, Server] = {}
    with ExitStack() as stack:

        def server_of(name: str) -> Server:
            if name not in servers:
                module = import_module(f".servers.{name}", __package__)
                server: Server = getattr(module, f"{name.capitalize()}Server")()
                stack.callback(server.close)
                server.start()
                servers[name] = server
            return servers[name]

        yield server_of


@pytest.fixture
def server(request: pytest.FixtureRequest, server_of: Callable[[str], Server]) -> Server:
    """Return the running server that the test is parametrised with, by name."""
    return server_of(request.param)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """Return a proxy in front of the server."""
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    """Return certificates for TLS."""
    return identities_in(tmp_path_factory.mktemp("tls"))
