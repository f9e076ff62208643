"""Risk: a connection is used in an event loop or a process that it is not of, or left open."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast
from weakref import ref

import anyio
import httpx
import pytest
import trio

from backofflock import AsyncBackend, Busy, DistributedLock, Grant, ThreadDistributedLock
from backofflock.backends import _etcd_clients
from backofflock.backends.etcd import EtcdBackend

from ..scripts import run_script
from .fleet import new_name
from .servers.base import Server, free_port
from .servers.etcd import EtcdServer

LONG = 60.0

RUNS: dict[str, Callable[..., Any]] = {
    "asyncio": lambda main: asyncio.run(main()),
    "trio": lambda main: trio.run(main),
}
in_each_loop = pytest.mark.parametrize("kind", RUNS)


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> EtcdServer:
    return cast("EtcdServer", server_of("etcd"))


@pytest.fixture
def backend(server: EtcdServer) -> Iterator[EtcdBackend]:
    with EtcdBackend.from_url(server.url()) as backend:
        yield backend


@pytest.fixture
def name() -> str:
    return new_name("connections")


def native(backend: EtcdBackend, kind: str) -> AsyncBackend:
    calls = backend.native(kind)
    assert calls is not None
    return calls


async def client_here(backend: EtcdBackend) -> httpx.AsyncClient:
    """Return the client of a backend in the running event loop."""
    return await _etcd_clients.client_here(backend, backend._settings)


# -- event loops -----------------------------------------------------------------------------------


@in_each_loop
def test_one_lock_serves_loops_that_follow_each_other(
    server: EtcdServer, name: str, kind: str
) -> None:
    lock = DistributedLock(name, server.url())  # nobody can close its backend

    async def main() -> None:
        for _ in range(2):
            async with lock:
                assert not server.is_free(name)

    for _ in range(3):
        RUNS[kind](main)
        gc.collect()  # what was left open would be reported, which is an error here
    assert lock.statistics().acquired == 6


PROGRAM = """
import asyncio, sys, trio
from backofflock import DistributedLock, ThreadDistributedLock
url, kind = sys.argv[1:]
if kind == "threads":
    with ThreadDistributedLock("program", url):
        print("held")
else:
    lock = DistributedLock("program", url)
    async def main():
        async with lock:
            print("held")
    asyncio.run(main()) if kind == "asyncio" else trio.run(main)
"""


@pytest.mark.parametrize("kind", ["threads", *RUNS])
def test_a_program_that_closes_nothing_ends_without_a_warning(
    server: EtcdServer, kind: str
) -> None:
    run_script(PROGRAM, server.url(), kind, prints="held\n")


def test_a_loop_loads_no_client_with_its_first_connection(server: EtcdServer) -> None:
    program = f"""
import asyncio, sys
from backofflock import connect
calls = connect({server.url()!r}).native("asyncio")
async def main():
    loaded = set(sys.modules)
    await calls.release("orders", "nobody's")
    print({{name.partition(".")[0] for name in set(sys.modules) - loaded}} & {{"httpcore", "h11"}})
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "set()\n"


@in_each_loop
def test_loops_at_once_have_connections_of_their_own(
    backend: EtcdBackend, name: str, kind: str
) -> None:
    clients: list[httpx.AsyncClient] = []

    async def inner() -> None:
        assert isinstance(await native(backend, kind).try_acquire(name, "a", LONG), Busy)
        clients.append(await client_here(backend))

    async def outer() -> None:
        granted = await native(backend, kind).try_acquire(name, "b", LONG)
        assert isinstance(granted, Grant)
        clients.append(await client_here(backend))
        await anyio.to_thread.run_sync(RUNS[kind], inner)
        assert clients[1].is_closed
        assert await native(backend, kind).release(name, "b")
        assert await client_here(backend) is clients[0]

    RUNS[kind](outer)
    assert len(set(clients)) == 2
    assert clients[0].is_closed


@in_each_loop
def test_backends_that_are_dropped_leave_no_connection_in_a_loop_that_goes_on(
    server: EtcdServer, name: str, kind: str
) -> None:
    clients: list[httpx.AsyncClient] = []

    async def main() -> None:
        for _ in range(5):
            backend = EtcdBackend.from_url(server.url())
            assert not await native(backend, kind).release(name, "a")
            clients.append(await client_here(backend))
            del backend
            gc.collect()
        assert [client.is_closed for client in clients] == [True] * 4 + [False]

    RUNS[kind](main)
    assert clients[4].is_closed


@in_each_loop
def test_aclose_closes_what_is_of_this_loop_and_calls_open_it_again(
    server: EtcdServer, name: str, kind: str
) -> None:
    async def main() -> None:
        async with EtcdBackend.from_url(server.url()) as backend:
            for _ in range(2):
                assert not await native(backend, kind).release(name, "a")
                client = await client_here(backend)
                await backend.aclose()
                assert client.is_closed

    RUNS[kind](main)


class CancelsAtStep(trio.abc.Instrument):
    """Cancels a scope once a task has made so many steps in it."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self.task = trio.lowlevel.current_task()
        self.scope = scope
        self.steps = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.steps -= 1
            if self.steps == 0:
                self.scope.cancel()


def test_a_cancel_at_any_step_leaves_nothing_to_the_collector(
    backend: EtcdBackend, name: str
) -> None:
    # Trio warns of an async generator that is not exhausted, and httpx has many.
    async def main() -> None:
        calls = native(backend, "trio")
        cancelled = True
        steps = 0
        while cancelled:
            assert not await calls.release(name, "a")
            steps += 1
            with trio.CancelScope() as scope:
                instrument = CancelsAtStep(scope, steps)
                trio.lowlevel.add_instrument(instrument)
                try:
                    await calls.release(name, "a")
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            cancelled = scope.cancelled_caught
        assert steps > 3

    trio.run(main)
    gc.collect()


def test_a_loop_that_was_closed_without_ceremony_is_forgotten(
    backend: EtcdBackend, name: str
) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(native(backend, "asyncio").release(name, "a"))
    client = loop.run_until_complete(client_here(backend))
    loop.run_until_complete(client.aclose())  # or there would rightly be a warning
    loop.close()
    assert loop in _etcd_clients._loops
    asyncio.run(native(backend, "asyncio").release(name, "a"))
    assert loop not in _etcd_clients._loops


# -- threads and processes -------------------------------------------------------------------------


def test_the_connections_of_threads_end_with_the_backend(server: EtcdServer, name: str) -> None:
    lock = ThreadDistributedLock(name, server.url())
    with lock:
        backend = cast("EtcdBackend", lock._backend)
        with backend._client() as client:
            alive = ref(backend)
    del lock, backend
    gc.collect()
    assert alive() is None
    assert client.is_closed


def test_close_closes_and_calls_open_again(server: EtcdServer, name: str) -> None:
    with EtcdBackend.from_url(server.url()) as backend:
        for _ in range(2):
            assert not backend.release(name, "a")
            with backend._client() as client:
                backend.close()
                backend.close()
                assert not client.is_closed, "it is in use"
            assert client.is_closed


FORK = """
import os, sys
from backofflock import connect, Grant
url, name = sys.argv[1:]
backend = connect(url)
for token in "first", "second":
    assert isinstance(backend.try_acquire(name, token, 60.0), Grant)
    assert backend.release(name, token)
child = os.fork()  # there is a connection now, and an idle lease
if child == 0:
    try:
        client = backend._opened.client
        assert isinstance(backend.try_acquire(name + "2", "child", 60.0), Grant)
        assert backend._opened.client is not client and not client.is_closed
        assert backend.release(name + "2", "child")
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)  # as the children of multiprocessing end
else:
    assert isinstance(backend.try_acquire(name, "parent", 60.0), Grant)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert backend.renew(name, "parent", 60.0)
    assert backend.release(name, "parent")
    print("both")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_shares_neither_connections_nor_leases(server: EtcdServer, name: str) -> None:
    before = server.served().get("LeaseGrant", 0)
    run_script(FORK, server.url(), name, prints="both\n")
    assert server.served()["LeaseGrant"] == before + 2


def test_proxies_for_the_web_are_not_asked(
    server: EtcdServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY":
        monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")
    for variable in "no_proxy", "NO_PROXY":
        monkeypatch.delenv(variable, raising=False)
    with EtcdBackend.from_url(server.url()) as backend:
        assert not backend.release(name, "a")
        assert not asyncio.run(native(backend, "asyncio").release(name, "a"))


# -- clients of the user's -------------------------------------------------------------------------


def test_a_client_of_the_users_is_used_and_left_open(server: EtcdServer, name: str) -> None:
    seen: list[httpx.Request] = []
    with httpx.Client(trust_env=False, event_hooks={"request": [seen.append]}) as client:
        with EtcdBackend(server.address, client=client) as backend:
            assert backend.native("asyncio") is None, "then tasks use it in worker threads"
            lock = DistributedLock(name, backend)

            async def main() -> None:
                async with lock:
                    pass

            asyncio.run(main())
            with ThreadDistributedLock(name, backend):
                pass
        assert len(seen) == 5
        assert not client.is_closed


@in_each_loop
def test_a_client_of_the_users_for_tasks_is_used_and_left_open(
    server: EtcdServer, name: str, kind: str
) -> None:
    async def main() -> None:
        seen: list[httpx.Request] = []

        async def see(request: httpx.Request) -> None:
            seen.append(request)

        async with httpx.AsyncClient(trust_env=False, event_hooks={"request": [see]}) as client:
            async with EtcdBackend(server.address, async_client=client) as backend:
                async with DistributedLock(name, backend):
                    pass
                with pytest.raises(TypeError, match="threads need an httpx.Client"):
                    backend.try_acquire(name, "a", LONG)
            assert len(seen) == 3
            assert not client.is_closed

    RUNS[kind](main)
