"""Redis behind TLS. Not every build of it speaks that by itself, so a proxy of the tests does."""

from __future__ import annotations

import asyncio
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from backofflock import BackendRefused, BackendUnavailable, Grant
from backofflock.backends.redis import RedisBackend

from .servers.base import Server, free_port
from .servers.redis import RedisServer

IDENTITY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgdSptgUvINNWTV6vf
l1prgvybcR1siVldHei7dS/adT2hRANCAAQaL1SXgPNem5EeJhVmdqpPgeBkFK/g
EZJgUYAJRb5xAEQspIe2tiBFTOtgLVYm/mUL71RBVBkADOftLvE5XmK/
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUTDAXqGUY23kvZV22GUhB9Vmb/e0wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTAyMzMyOVoYDzIxMjYxMTAx
MDIzMzI5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQaL1SXgPNem5EeJhVmdqpPgeBkFK/gEZJgUYAJRb5xAEQspIe2tiBF
TOtgLVYm/mUL71RBVBkADOftLvE5XmK/o28wbTAdBgNVHQ4EFgQUe/NoF9G7Ss3T
6dJG6RfdquujbcEwHwYDVR0jBBgwFoAUe/NoF9G7Ss3T6dJG6RfdquujbcEwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAI5AegKGmp959BxudUqyQCLot1+7OM94E6di0UH41rp8AiEA
/5z9S2+vWfDkhM1DgapeINFl7sYeiJ90RSaGEDMdDWE=
-----END CERTIFICATE-----
"""
"""The key of nothing but these tests, and its certificate for localhost, signed by itself."""


class Encrypting:
    """Speaks TLS on `port`, and plainly with `target_port`."""

    def __init__(self, target_port: int, identity: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity)
        self.port = free_port()
        self._target_port = target_port
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        assert self._ready.wait(20.0)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._pass_on, "127.0.0.1", self.port, ssl=self._context
        )
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _pass_on(self, here: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        await asyncio.gather(pump(here, writer), pump(reader, there))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends."""
    with suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


@pytest.fixture(scope="module")
def server(server_of: Callable[[str], Server]) -> RedisServer:
    return cast("RedisServer", server_of("redis"))


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "identity.pem"
    path.write_text(IDENTITY)
    return path


@pytest.fixture(scope="module")
def front(server: RedisServer, identity: Path) -> Iterator[Encrypting]:
    front = Encrypting(server.port, identity)
    yield front
    front.close()


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
    server: RedisServer, front: Encrypting, identity: Path, ask: Callable[..., Any]
) -> None:
    server.admin.flushall()
    nothing: dict[str, Any] = {}
    for url, options in {
        f"rediss://localhost:{front.port}/0": {"ssl_ca_certs": str(identity)},
        f"rediss://127.0.0.1:{front.port}/0?ssl_ca_certs={identity}": nothing,
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
