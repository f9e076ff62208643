"""Risk: a failure of etcd is taken for another one: a member that is down for a cluster that is, a
wrong password for a busy server, a page of a proxy for an answer.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from backofflock import BackendRefused, BackendUnavailable, Busy, Grant
from backofflock.backends._etcd_gateway import Cluster, Response
from backofflock.backends.etcd import EtcdBackend
from backofflock.testing._clients import Client, clients, new_token

from .fleet import new_name
from .servers.base import Server, free_port
from .servers.etcd import EtcdServer, base64

LONG = 60.0
SECRET = "pass:w@rd/%"

each_host = pytest.mark.parametrize("kind", ["threads", "asyncio", "trio"])


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> EtcdServer:
    return cast("EtcdServer", server_of("etcd"))


@pytest.fixture(scope="module")
def guarded() -> Iterator[EtcdServer]:
    """Return a server that wants a login."""
    with EtcdServer(user="app", password=SECRET) as server:
        yield server


@pytest.fixture
def name() -> str:
    return new_name("failure")


@contextmanager
def calls(kind: str, *urls: str, **options: Any) -> Iterator[Client]:
    """Give the calls of a backend, made in threads or in tasks."""
    with clients(lambda: EtcdBackend(*urls, **options), kind, 1) as (client,):
        yield client


@contextmanager
def stopped(server: EtcdServer) -> Iterator[None]:
    """Stop a server that goes on afterwards; until then it accepts connections and says nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        os.waitpid(server.pid, os.WUNTRACED)  # until it has stopped
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


# -- logins ----------------------------------------------------------------------------------------


@each_host
def test_a_login_is_used_and_renewed(guarded: EtcdServer, kind: str, name: str) -> None:
    token = new_token()
    with clients(lambda: EtcdBackend.from_url(guarded.url()), kind, 1) as (client,):
        client.gets(name, token, LONG)
        guarded.stop()
        guarded.start()  # and what it gave for the login is worth nothing
        assert client.renew(name, token, LONG)
        guarded.stop()
        guarded.start()
        assert isinstance(client.try_acquire(name, new_token(), LONG), Busy)
        guarded.log_in()
        # The revision of users and roles has changed.
        guarded.ask("auth/role/add", {"name": new_name("role")})
        assert client.release(name, token)


@each_host
def test_a_wrong_login_is_refused_and_shown_to_nobody(
    guarded: EtcdServer, kind: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with calls(kind, guarded.address, username="app", password=SECRET + "!") as client:
        for _ in range(2):
            with pytest.raises(BackendRefused, match="invalid user ID or password") as caught:
                client.try_acquire(name, new_token(), LONG)
        backend = client.backend
    error: BaseException | None = caught.value
    shown = [str(backend), repr(backend), caplog.text]
    while error is not None:
        shown += [repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    assert not [text for text in shown if SECRET in text]
    assert str(backend) == f"etcd://app@127.0.0.1:{guarded.port}/backofflock/"


@each_host
def test_no_login_and_no_permission_are_refused(guarded: EtcdServer, kind: str, name: str) -> None:
    with (
        calls(kind, guarded.address) as client,
        pytest.raises(BackendRefused, match="user name is empty"),
    ):
        client.try_acquire(name, new_token(), LONG)
    login = {"username": "app", "password": SECRET}
    with (
        calls(kind, guarded.address, prefix="elsewhere/", **login) as client,
        pytest.raises(BackendRefused, match="permission denied"),
    ):
        client.try_acquire(name, new_token(), LONG)


def test_a_login_that_is_not_needed_yet_does_no_harm(name: str) -> None:
    with (
        EtcdServer() as server,
        EtcdBackend(server.address, username="root", password="root") as backend,
    ):
        assert isinstance(backend.try_acquire(name, "a", LONG), Grant)
        server.ask("auth/user/add", {"name": "root", "password": "root"})
        server.ask("auth/user/grant", {"user": "root", "role": "root"})
        server.ask("auth/enable", {})
        assert backend.renew(name, "a", LONG)


# -- members ---------------------------------------------------------------------------------------


@each_host
def test_the_next_member_is_asked_within_a_call_if_one_is_down(
    server: EtcdServer, kind: str, name: str
) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    with calls(kind, down, server.address) as client:
        token = new_token()
        client.gets(name, token, LONG)
        assert client.release(name, token)
    with calls(kind, down, down) as client, pytest.raises(BackendUnavailable, match="ConnectError"):
        client.try_acquire(name, new_token(), LONG)


@each_host
def test_the_next_member_is_asked_after_one_that_hangs(
    server: EtcdServer, kind: str, name: str
) -> None:
    token = new_token()
    with (
        EtcdServer() as other,
        calls(kind, other.address, server.address, request_timeout=1.0) as client,
    ):
        client.gets(name, token, LONG)
        with stopped(other):
            began = time.monotonic()
            with pytest.raises(BackendUnavailable, match=r"renew: ReadTimeout(: timed out)?$"):
                client.renew(name, token, LONG)
            assert time.monotonic() - began < 4.0
            assert not client.renew(name, token, LONG), "that is another cluster"


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_the_next_member_is_asked_after_a_call_that_was_cancelled(
    server: EtcdServer, kind: str, name: str
) -> None:
    with EtcdServer() as other, calls(kind, other.address, server.address) as client:
        client.gets(name, token := new_token(), LONG)
        assert client.release(name, token)
        with stopped(other):
            client.gives_up(name, token := new_token(), LONG, within=0.1)
            client.gets(name, following := new_token(), LONG)
            assert not server.is_free(name)
            assert not client.release(name, token)
            assert client.release(name, following)


def test_a_member_without_a_majority_is_unavailable(name: str) -> None:
    with EtcdServer() as server:
        peers = [f"http://127.0.0.1:{free_port()}"]
        # A second member that never comes up: one of two is no majority.
        server.ask("cluster/member/add", {"peerURLs": peers})
        with (
            EtcdBackend(server.address) as backend,
            pytest.raises(BackendUnavailable, match=r"etcdserver: |ReadTimeout"),
        ):
            backend.try_acquire(name, "a", LONG)


# -- what is in the way ----------------------------------------------------------------------------


@contextmanager
def speaker(status: int, text: str) -> Iterator[str]:
    """Give the URL of a server that always says the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (502, "<html>Bad Gateway</html>", BackendUnavailable),
        (503, "", BackendUnavailable),
        (429, "slow down", BackendUnavailable),
        (404, "404 page not found", BackendRefused),
        (200, "<html>Welcome</html>", BackendRefused),
        (200, "{}", BackendRefused),
        (200, "[]", BackendRefused),
        (200, '{"result": 3, "error": ["x"]}', BackendRefused),
        (401, "", BackendRefused),
        (302, "", BackendRefused),
    ],
)
def test_what_is_no_etcd_is_told_from_one_that_cannot_be_reached(
    status: int, text: str, error: type[Exception], name: str
) -> None:
    with speaker(status, text) as url, EtcdBackend(url) as backend:
        for call in (
            lambda: backend.try_acquire(name, "a", LONG),
            lambda: backend.renew(name, "a", LONG),
            lambda: backend.release(name, "a"),
        ):
            with pytest.raises(error, match=f"HTTP {status}, not from etcd v3"):
                call()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"error": "etcdserver: no leader", "code": 14}, BackendUnavailable),
        ({"error": "etcdserver: request timed out", "code": 14}, BackendUnavailable),
        ({"error": "etcdserver: too many requests", "code": 8}, BackendUnavailable),
        ({"error": "context deadline exceeded", "code": 4}, BackendUnavailable),
        ({"error": "raft: stopped", "code": 2}, BackendUnavailable),
        ({"code": 14, "message": "etcdserver: leader changed", "details": []}, BackendUnavailable),
        ({"error": {"grpc_code": 14, "message": "etcdserver: no leader"}}, BackendUnavailable),
        ({"error": {"code": 14, "message": "etcdserver: no leader"}}, BackendUnavailable),
        ({"error": "etcdserver: permission denied", "code": 7}, BackendRefused),
        ({"error": "etcdserver: invalid auth token", "code": 16}, BackendRefused),
        ({"error": "etcdserver: mvcc: database space exceeded", "code": 8}, BackendRefused),
        ({"error": "etcdserver: request is too large", "code": 3}, BackendRefused),
    ],
    ids=str,
)
def test_what_etcd_says_is_told_apart(body: dict[str, Any], error: type[Exception]) -> None:
    # As its gateways word it, in unary calls and in streams, of 3.4 and 3.5 and of 3.6.
    steps = Cluster(["http://etcd"], "etcd://etcd", None).ask("renew", "lease/keepalive", {})
    next(steps)
    told = body.get("error", body.get("message"))
    message = told["message"] if isinstance(told, dict) else told
    with pytest.raises(error, match=message):
        steps.send(Response(500, json.dumps(body) + "\n"))


def test_a_name_that_is_too_long_is_refused(server: EtcdServer) -> None:
    with (
        EtcdBackend(server.address) as backend,
        pytest.raises(BackendRefused, match="too large|larger than max"),
    ):
        backend.try_acquire("x" * 3_000_000, "a", LONG)


def test_without_space_nothing_is_granted_and_what_is_held_stays_so(name: str) -> None:
    quota = 100_000
    with (
        EtcdServer(quota_backend_bytes=str(quota)) as server,
        EtcdBackend(server.address) as backend,
    ):
        ttl = 5.0  # seconds for which the machine may stand still between two renewals
        assert isinstance(backend.try_acquire(name, "a", ttl), Grant)
        with pytest.raises(AssertionError, match="space exceeded"):
            # In small pieces: the file grows by whole pages of 4,096 bytes, so that the one which
            # is refused finds the quota exceeded. A large one can be refused below it, and then a
            # release, which needs no space, is not.
            for _ in range(2000):
                server.ask("kv/put", {"key": base64("x"), "value": base64("x" * 1_000)})
        assert int(server.ask("maintenance/status", {})["dbSize"]) > quota
        with pytest.raises(BackendRefused, match="space exceeded"):
            backend.try_acquire(new_name("no space"), "b", LONG)
        until = time.monotonic() + 1.2 * ttl
        while time.monotonic() < until:
            time.sleep(0.25)
            assert backend.renew(name, "a", ttl)  # the last just before the release
        with pytest.raises(BackendRefused, match="space exceeded"):
            assert backend.release(name, "a"), "it had ended before it was released"
        latest = time.monotonic() + 10.0
        while not server.is_free(name):
            assert time.monotonic() < latest, "the lease does not end"
            time.sleep(0.01)


def test_another_failure_that_is_handled_is_not_taken_for_the_cause(name: str) -> None:
    backend = EtcdBackend(f"http://127.0.0.1:{free_port()}")
    with backend, pytest.raises(BackendUnavailable):
        try:
            raise ssl.SSLCertVerificationError("of another connection")
        except ssl.SSLError:
            backend.try_acquire(name, "a", LONG)
