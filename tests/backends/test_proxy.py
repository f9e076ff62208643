"""The proxy loses what it is told to lose, and nothing else."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from .proxy import Proxy


class Echo(socketserver.BaseRequestHandler):
    """Answers each line with itself, and counts what it has got."""

    got: list[bytes]

    def handle(self) -> None:
        try:
            while data := self.request.recv(4096):
                self.got.append(data)
                self.request.sendall(data)
        except ConnectionResetError:
            self.got.append(b"reset")
        else:
            self.got.append(b"end")


class EchoServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.fixture
def got() -> list[bytes]:
    """Return what the server has got."""
    return []


@pytest.fixture
def proxy(got: list[bytes]) -> Iterator[Proxy]:
    handler = type("Handler", (Echo,), {"got": got})
    with EchoServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            with Proxy(server.server_address[1]) as proxy:
                yield proxy
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        yield client


def nothing_comes(client: socket.socket, seconds: float = 0.1) -> bool:
    client.settimeout(seconds)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)
    return False


def is_reset(port: int) -> bool:
    """Connect; return whether that is undone, at once or as soon as there is a connection."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.recv(1)
    except ConnectionResetError:
        return True
    return False


def test_it_passes_on_and_counts(proxy: Proxy, client: socket.socket) -> None:
    assert (proxy.connections, proxy.open_connections, proxy.requests) == (1, 1, 1)
    client.close()
    proxy.until(lambda: proxy.open_connections == 0, "the end of the connection")
    assert (proxy.connections, proxy.replies_held, proxy.requests_held) == (1, 0, 0)


def test_swallowed_replies_arrive_once_let_go(
    proxy: Proxy, client: socket.socket, got: list[bytes]
) -> None:
    proxy.swallow_replies()
    client.sendall(b"a")
    proxy.until(lambda: proxy.replies_held == 1, "the reply")
    assert got == [b"hello", b"a"], "the server must have got the request"
    assert nothing_comes(client)
    proxy.let_go()
    assert client.recv(100) == b"a"
    assert proxy.replies_held == 0


def test_held_replies_may_go_one_by_one(proxy: Proxy, client: socket.socket) -> None:
    proxy.swallow_replies()
    client.sendall(b"a")
    proxy.until(lambda: proxy.replies_held == 1, "the reply")
    proxy.pass_on(1)
    assert client.recv(100) == b"a"
    client.sendall(b"b")
    proxy.until(lambda: proxy.replies_held == 1, "the reply")
    proxy.pass_on(0)
    assert nothing_comes(client)
    proxy.let_go()
    assert client.recv(100) == b"b"


def test_a_reply_that_is_held_is_lost_with_its_connection(
    proxy: Proxy, client: socket.socket, got: list[bytes]
) -> None:
    proxy.swallow_replies()
    client.sendall(b"a")
    proxy.until(lambda: proxy.replies_held == 1, "the reply")
    proxy.cut()
    assert (proxy.replies_held, proxy.open_connections) == (0, 0)
    proxy.let_go()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    proxy.until(lambda: got[-1] == b"reset", "the server's end")


def test_replies_of_old_connections_only_may_be_swallowed(
    proxy: Proxy, client: socket.socket
) -> None:
    proxy.swallow_replies(of_new=False)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as another:
        another.sendall(b"b")
        assert another.recv(100) == b"b"
    client.sendall(b"a")
    assert nothing_comes(client)
    proxy.let_go()
    assert client.recv(100) == b"a"


def test_swallowed_requests_do_not_reach_the_server(
    proxy: Proxy, client: socket.socket, got: list[bytes]
) -> None:
    proxy.swallow_requests()
    client.sendall(b"a")
    proxy.until(lambda: proxy.requests_held == 1, "the request")
    assert nothing_comes(client)
    assert got == [b"hello"]
    proxy.let_go()
    assert client.recv(100) == b"a"


def test_hanging_up_is_a_request_too(proxy: Proxy, client: socket.socket, got: list[bytes]) -> None:
    proxy.swallow_all()
    client.close()
    proxy.until(lambda: proxy.requests_held == 1, "the end")
    assert got == [b"hello"]
    proxy.let_go()
    proxy.until(lambda: got == [b"hello", b"end"], "the end at the server")


def test_a_delayed_reply_is_late_and_a_swallow_catches_it(
    proxy: Proxy, client: socket.socket
) -> None:
    proxy.delay(0.2)
    began = time.monotonic()
    client.sendall(b"a")
    assert client.recv(100) == b"a"
    assert time.monotonic() - began >= 0.2
    client.sendall(b"b")
    proxy.until(lambda: proxy.replies_held == 1, "the reply")
    proxy.swallow_replies()
    proxy.delay(0)
    assert nothing_comes(client, 0.3)
    proxy.let_go()
    assert client.recv(100) == b"b"


def test_refusing_leaves_what_is_open(proxy: Proxy, client: socket.socket) -> None:
    proxy.refuse()
    assert is_reset(proxy.port)
    client.sendall(b"a")
    assert client.recv(100) == b"a"
    proxy.let_go()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as another:
        another.sendall(b"b")
        assert another.recv(100) == b"b"


def test_a_server_that_is_down_is_a_reset() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Proxy(port) as proxy:
        assert is_reset(proxy.port)


def test_it_ends_with_connections_open_and_bytes_held(proxy: Proxy, client: socket.socket) -> None:
    proxy.swallow_all()
    client.sendall(b"a")
    proxy.until(lambda: proxy.requests_held == 1, "the request")
    proxy.close()
    proxy.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
