"""Redis behind TLS. Not every build of it speaks that by itself, so a proxy of the tests does."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

import pytest

from backofflock import BackendRefused, BackendUnavailable, Grant
from backofflock.backends.redis import RedisBackend

from .servers.base import Server
from .servers.redis import RedisServer
from .tls import Encrypting, Identities


@pytest.fixture(scope="module")
def server(server_of: Callable[[str], Server]) -> RedisServer:
    return cast("RedisServer", server_of("redis"))


@pytest.fixture(scope="module")
def front(server: RedisServer, identities: Identities) -> Iterator[Encrypting]:
    with closing(Encrypting(server.port, identities.context())) as front:
        yield front


@pytest.fixture(scope="module")
def choosy(server: RedisServer, identities: Identities) -> Iterator[Encrypting]:
    """Return one that lets clients of its own authority in."""
    with closing(Encrypting(server.port, identities.context(asks_clients=True))) as front:
        yield front


def in_threads(backend: RedisBackend, call: str, *arguments: Any) -> Any:
    return getattr(backend, call)(*arguments)


def in_tasks(backend: RedisBackend, call: str, *arguments: Any) -> Any:
    async def main() -> Any:
        return await getattr(backend.native("asyncio"), call)(*arguments)

    return asyncio.run(main())


@pytest.fixture(params=[in_threads, in_tasks])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return what makes a call, in a thread or in a task."""
    ask: Callable[..., Any] = request.param
    return ask


def test_a_lock_over_tls(
    server: RedisServer, front: Encrypting, identities: Identities, ask: Callable[..., Any]
) -> None:
    server.admin.flushall()
    nothing: dict[str, Any] = {}
    for url, options in {
        f"rediss://localhost:{front.port}/0": {"ssl_ca_certs": str(identities.authority)},
        f"rediss://127.0.0.1:{front.port}/0?ssl_ca_certs={identities.authority}": nothing,
    }.items():
        with RedisBackend.from_url(url, **options) as backend:
            assert str(backend) == url.partition("?")[0]
            assert isinstance(ask(backend, "try_acquire", "orders", url, 30.0), Grant)
            assert not server.is_free("orders")
            assert ask(backend, "release", "orders", url)


def test_a_server_that_nobody_vouches_for_is_refused(
    front: Encrypting, ask: Callable[..., Any]
) -> None:
    with (
        RedisBackend.from_url(f"rediss://localhost:{front.port}/0") as backend,
        pytest.raises(BackendRefused, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        ask(backend, "try_acquire", "orders", "a", 30.0)


def test_a_client_has_a_certificate(
    choosy: Encrypting, identities: Identities, ask: Callable[..., Any]
) -> None:
    url = f"rediss://localhost:{choosy.port}/0?ssl_ca_certs={identities.authority}"
    with RedisBackend.from_url(f"{url}&ssl_certfile={identities.client}") as backend:
        assert isinstance(ask(backend, "try_acquire", "orders", "mine", 30.0), Grant)
        assert ask(backend, "release", "orders", "mine")


@pytest.mark.parametrize(
    ("certificate", "alert"), [(None, "HANDSHAKE_FAILURE"), ("stranger", "UNKNOWN_CA")]
)
def test_a_client_that_nobody_vouches_for_is_refused(
    choosy: Encrypting,
    identities: Identities,
    ask: Callable[..., Any],
    certificate: str | None,
    alert: str,
) -> None:
    url = f"rediss://localhost:{choosy.port}/0?ssl_ca_certs={identities.authority}"
    if certificate:
        url += f"&ssl_certfile={getattr(identities, certificate)}"
    with (
        RedisBackend.from_url(url) as backend,
        pytest.raises(BackendRefused, match=f"ALERT_{alert}"),
    ):
        ask(backend, "try_acquire", "orders", "mine", 30.0)


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_that_is_not_there_is_no_server_that_is_away(option: str) -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        RedisBackend.from_url(f"rediss://localhost/0?{option}=/nowhere")


def test_a_file_that_is_no_certificate_is_refused(
    front: Encrypting, identities: Identities, ask: Callable[..., Any]
) -> None:
    url = f"rediss://localhost:{front.port}/0?ssl_ca_certs={identities.authority}"
    with (
        RedisBackend.from_url(f"{url}&ssl_certfile={__file__}") as backend,
        pytest.raises(BackendRefused, match="PEM"),
    ):
        ask(backend, "try_acquire", "orders", "mine", 30.0)


class SaysHello(socketserver.BaseRequestHandler):
    """Answers whatever comes in plain text, as a web server does."""

    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_a_server_that_does_not_encrypt_is_refused(ask: Callable[..., Any]) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), SaysHello) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,)).start()
        try:
            with (
                RedisBackend.from_url(
                    f"rediss://127.0.0.1:{listening.server_address[1]}"
                ) as backend,
                pytest.raises(BackendRefused, match="WRONG_VERSION_NUMBER"),
            ):
                ask(backend, "try_acquire", "orders", "a", 30.0)
        finally:
            listening.shutdown()


def test_a_server_that_wants_encryption_and_does_not_get_it_hangs_up(
    front: Encrypting, ask: Callable[..., Any]
) -> None:
    with (
        RedisBackend.from_url(f"redis://localhost:{front.port}/0") as backend,
        pytest.raises(BackendUnavailable),
    ):
        ask(backend, "try_acquire", "orders", "a", 30.0)
