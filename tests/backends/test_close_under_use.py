"""Risk: a backend that is closed while others use it fails their calls in a way of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, cast

import httpx
import pytest

from backofflock import BackendUnavailable, Grant, ThreadDistributedLock, connect
from backofflock.backends import _etcd_clients, etcd
from backofflock.backends.etcd import EtcdBackend
from backofflock.backends.redis import RedisBackend

from .fleet import new_name
from .postgres_sessions import in_thread
from .proxy import Proxy
from .servers.base import Server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def server(server_of: Callable[[str], Server], request: pytest.FixtureRequest) -> Server:
    return server_of(request.param)


@pytest.mark.parametrize("server", ["redis"], indirect=True)
def test_a_call_under_way_ends_well_and_its_connection_with_it(
    server: Server, proxy: Proxy
) -> None:
    backend = cast("RedisBackend", connect(server.url(proxy.port)))
    name = new_name("closing")
    assert isinstance(backend.try_acquire(name, "mine", 30.0), Grant)
    assert backend.renew(name, "mine", 30.0), "the server knows the script"
    proxy.swallow_replies()
    under_way = in_thread(lambda: backend.renew(name, "mine", 30.0))
    proxy.until(lambda: proxy.replies_held, "the request is answered")
    backend.close()
    assert not under_way.done()
    proxy.let_go()
    assert under_way.result(10.0)
    proxy.until(lambda: not proxy.open_connections, "it has closed its connection")
    assert backend.release(name, "mine"), "calls after that make new ones"
    backend.close()
    proxy.until(lambda: not proxy.open_connections, "and those are closed too")


@pytest.mark.parametrize("server", ["etcd"], indirect=True)
def test_a_call_of_many_requests_goes_on_with_another_client(server: Server) -> None:
    name = new_name("closing")

    def closing(steps: Any, close: Callable[[], None]) -> Generator[Any, Any, Any]:
        request = next(steps)
        while True:
            close()
            answer = yield request
            try:
                request = steps.send(answer)
            except StopIteration as done:
                return done.value

    backend = EtcdBackend.from_url(server.url())
    steps = backend._calls.try_acquire(name, "mine", 30.0)
    assert isinstance(backend._carry_out(closing(steps, backend.close)), Grant)
    assert backend.release(name, "mine")
    backend.close()


@pytest.mark.parametrize("server", ["etcd"], indirect=True)
def test_a_call_in_a_task_goes_on_with_another_client(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, closed, right = new_name("closing"), list[httpx.AsyncClient](), _etcd_clients.client_here

    async def one_that_is_closed_meanwhile(
        backend: EtcdBackend, settings: dict[str, Any]
    ) -> httpx.AsyncClient:
        if len(closed) % 2:
            return await right(backend, settings)
        closed.append(httpx.AsyncClient())
        await closed[-1].aclose()
        return closed[-1]

    async def main() -> None:
        backend = EtcdBackend.from_url(server.url())
        in_tasks = backend.native("asyncio")
        assert in_tasks is not None
        monkeypatch.setattr(etcd, "client_here", one_that_is_closed_meanwhile)
        assert isinstance(await in_tasks.try_acquire(name, "mine", 30.0), Grant)
        assert await in_tasks.release(name, "mine")
        await backend.aclose()

    asyncio.run(main())
    assert closed


@pytest.mark.parametrize("server", ["redis", "etcd"], indirect=True)
def test_closing_again_and_again_costs_no_lease(server: Server) -> None:
    backend = cast("RedisBackend | EtcdBackend", connect(server.url()))
    locks = [ThreadDistributedLock(new_name("closing"), backend, ttl=10.0) for _ in range(2)]
    failures: list[BaseException] = []

    def use(lock: ThreadDistributedLock) -> None:
        for _ in range(150):
            with lock as lease:
                lease.ensure_held()
                try:
                    assert backend.renew(lease.name, lease.token, 10.0)
                except BackendUnavailable:
                    pass  # a reply was lost, which is said so
                except BaseException as error:
                    failures.append(error)
                    raise

    users = [in_thread(partial(use, lock)) for lock in locks]
    while not all(user.done() for user in users):
        backend.close()
        time.sleep(0.001)
    for user in users:
        user.result()
    assert not failures
    backend.close()
