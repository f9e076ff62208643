"""The connections of Redis that are kept for the next request: to be alive, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

import pytest

from backofflock import BackendUnavailable, Busy, Grant
from backofflock.backends import _redis_tasks
from backofflock.backends import redis as backend_module
from backofflock.backends.redis import RedisBackend

from ..scripts import in_child, until
from .proxy import Proxy
from .servers.base import Server
from .servers.redis import RedisServer

LOCK = "{backofflock:orders}"


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> RedisServer:
    server = cast("RedisServer", server_of("redis"))
    server.admin.flushall()
    until(lambda: clients_of(server) == 0)
    return server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


class Asker:
    """Makes calls one by one, in a thread or in tasks of one event loop."""

    def __init__(self, kind: str) -> None:
        self._runner = asyncio.Runner() if kind == "asyncio" else None
        self._backends: list[RedisBackend] = []

    def backend(self, url: str, **options: Any) -> RedisBackend:
        """Return a new backend, closed at the end."""
        backend = RedisBackend.from_url(url, **options)
        self._backends.append(backend)
        return backend

    def __call__(self, backend: RedisBackend, call: str, *arguments: Any) -> Any:
        """Make a call and return its answer."""

        async def in_task() -> Any:
            for _ in range(3):
                await asyncio.sleep(0)  # the loop, which stood still, hears what has ended
            return await getattr(backend.native("asyncio"), call)(*arguments)

        if self._runner is None:
            return getattr(backend, call)(*arguments)
        return self._runner.run(in_task())

    def close(self) -> None:
        """Close the backends, and the loop."""
        for backend in self._backends:
            if self._runner is None:
                backend.close()
            else:
                self._runner.run(backend.aclose())
        if self._runner is not None:
            self._runner.close()


@pytest.fixture(params=["threads", "asyncio"])
def ask(request: pytest.FixtureRequest) -> Iterator[Asker]:
    with closing(Asker(request.param)) as asker:
        yield asker


def clients_of(server: RedisServer) -> int:
    """Return how many are connected, apart from the tests."""
    return len(server.admin.client_list()) - 1


def test_requests_that_follow_each_other_share_a_connection(
    server: RedisServer, ask: Asker
) -> None:
    backend = ask.backend(server.url())
    for n in range(5):
        assert isinstance(ask(backend, "try_acquire", "orders", f"a {n}", 30.0), Grant)
        assert ask(backend, "release", "orders", f"a {n}")
    assert clients_of(server) == 1


def test_one_that_the_server_has_ended_while_it_was_idle_is_replaced(
    server: RedisServer, ask: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any time is long now; a server ends what was idle for long, and proxies do.
    for module in (backend_module, _redis_tasks):
        monkeypatch.setattr(module, "FRESH", 0.0)
    backend = ask.backend(server.url())
    assert isinstance(ask(backend, "try_acquire", "orders", "a", 30.0), Grant)
    server.admin.client_kill_filter(_type="normal", skipme=True)
    until(lambda: clients_of(server) == 0)
    assert ask(backend, "release", "orders", "a")
    assert clients_of(server) == 1


def test_of_those_that_a_server_ends_in_use_one_fails_and_the_others_are_replaced(
    server: RedisServer,
) -> None:
    async def main() -> None:
        async with RedisBackend.from_url(server.url()) as backend:
            calls = backend.native("asyncio")
            assert calls is not None
            names = [f"order {n}" for n in range(5)]
            await asyncio.gather(*(calls.try_acquire(name, "a", 30.0) for name in names))
            assert clients_of(server) == 5
            server.admin.client_kill_filter(_type="normal", skipme=True)
            until(lambda: clients_of(server) == 0)
            with pytest.raises(BackendUnavailable):
                await calls.renew(names[0], "a", 30.0)
            for name in names:
                assert await calls.renew(name, "a", 30.0)

    asyncio.run(main())


def test_a_forked_child_has_connections_of_its_own(server: RedisServer) -> None:
    with RedisBackend.from_url(server.url()) as backend:
        assert isinstance(backend.try_acquire("orders", "a", 30.0), Grant)
        parents = {client["id"] for client in server.admin.client_list()}

        def child() -> None:
            assert isinstance(backend.try_acquire("orders", "b", 30.0), Busy)
            assert {client["id"] for client in server.admin.client_list()} > parents

        in_child(child)
        until(lambda: clients_of(server) == 1)
        assert {client["id"] for client in server.admin.client_list()} == parents
        assert backend.release("orders", "a")


def test_a_release_that_was_not_answered_is_remembered_when_it_is_sent_again(
    server: RedisServer, proxy: Proxy, ask: Asker
) -> None:
    backend = ask.backend(server.url(proxy.port), request_timeout=1.0)
    assert isinstance(ask(backend, "try_acquire", "orders", "a", 30.0), Grant)
    proxy.swallow_replies()
    with pytest.raises(BackendUnavailable):
        ask(backend, "release", "orders", "a")
    proxy.let_go()
    assert not ask(backend, "release", "orders", "a"), "the first one had it"
    # An acquire that comes late is none of it: but a release may have been sent for one.
    assert server.admin.exists(LOCK + ":a:gone")


def test_an_acquire_that_is_overtaken_by_its_release_is_refused(
    server: RedisServer, proxy: Proxy, ask: Asker
) -> None:
    backend = ask.backend(server.url(proxy.port), request_timeout=1.0)
    with RedisBackend.from_url(server.url()) as network:
        proxy.swallow_replies()
        with pytest.raises(BackendUnavailable):
            ask(backend, "try_acquire", "orders", "a", 30.0)
        with pytest.raises(BackendUnavailable):
            ask(backend, "release", "orders", "a")
        proxy.let_go()
        # For long enough to outlast any request, and not for ever.
        assert 50_000 < server.admin.pttl(LOCK + ":a:gone") <= 60_000
        assert isinstance(network.try_acquire("orders", "a", 30.0), Busy), "it comes at last"
        assert ask(backend, "release", "orders", "a"), "sent again it gets the same answer"
        assert not server.admin.exists(LOCK)
