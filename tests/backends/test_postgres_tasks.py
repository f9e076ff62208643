"""Risk: tasks of asyncio, which have no thread for each request, block their event loop, or leave
behind what a thread would have ended."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
import uvloop

from backofflock import BackendRefused, BackendUnavailable, Busy, Grant
from backofflock.backends.postgres import PostgresBackend
from backofflock.leases import AsyncBackend

from .fleet import new_name
from .postgres_sessions import (
    LATE,
    advisory_locks,
    deserted,
    granted,
    session_of,
    stopped,
)
from .proxy import Proxy
from .servers.base import Server
from .servers.postgres import PostgresServer

T = TypeVar("T")

LONG = "x" * 8_000_000
"""A token that no socket takes at once."""


class BlindLoop(asyncio.SelectorEventLoop):
    """An event loop that watches no sockets, as the default of Windows."""

    def add_reader(self, *_: object) -> None:
        raise NotImplementedError


LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop, BlindLoop]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop", "blind"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, T]], T]:
    """Return what runs a coroutine on a kind of event loop."""

    def run(main: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> PostgresServer:
    """Return the server that all tests share, with nobody on it."""
    return deserted(server_of("postgres"))


@pytest.fixture
def backend(server: PostgresServer) -> Iterator[PostgresBackend]:
    with PostgresBackend(server.url(), request_timeout=20.0) as backend:
        yield backend


def calls_of(backend: PostgresBackend) -> AsyncBackend:
    """Return its calls for tasks of asyncio."""
    calls = backend.native("asyncio")
    assert calls is not None
    assert str(calls) == str(backend)
    return calls


async def until(condition: Callable[[], object], what: str, limit: float = 10.0) -> None:
    """Wait until something is so, while the event loop goes on."""
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def asking(call: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Give a task that calls, and is on its way."""
    task = asyncio.create_task(call)
    for _ in range(10):
        await asyncio.sleep(0.005)
        assert not task.done()
    yield task


def test_a_server_that_says_nothing_delays_no_event_loop(
    backend: PostgresBackend, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    name = new_name("silent")

    async def main() -> None:
        calls = calls_of(backend)
        fence = granted(await calls.try_acquire(name, "a", 30.0))
        with stopped(session_of(backend, name, "a")):
            async with asking(calls.renew(name, "a", 30.0)) as renewing:
                pass
        assert await renewing
        with stopped(session_of(backend, name, "a")):
            async with asking(calls.release(name, "a")) as releasing:
                pass
        assert await releasing
        assert granted(await calls.try_acquire(name, "b", 30.0)) > fence

    run(main())


def test_a_statement_that_no_socket_takes_at_once_delays_no_event_loop(
    server: PostgresServer,
    backend: PostgresBackend,
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    name = new_name("long")

    async def main() -> None:
        calls = calls_of(backend)
        granted(await calls.try_acquire(name, "a", 30.0))
        session = session_of(backend, name, "a")
        assert await calls.release(name, "a")
        with stopped(session):
            async with asking(calls.try_acquire(name, LONG, 30.0)) as asked:
                pass
        granted(await asked)
        assert server.sessions() == [session]
        assert await calls.renew(name, LONG, 30.0)
        assert await calls.release(name, LONG)

    run(main())


def test_a_name_that_is_looked_up_for_long_delays_no_event_loop(
    server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    found = threading.Event()

    def look_up(*_: object, **__: object) -> list[tuple[Any, ...]]:
        assert found.wait(20.0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    async def main() -> None:
        with PostgresBackend(server.url().replace("127.0.0.1", "db.internal")) as backend:
            calls = calls_of(backend)
            monkeypatch.setattr(socket, "getaddrinfo", look_up)
            async with asking(calls.try_acquire("orders", "a", 30.0)) as asked:
                found.set()
            granted(await asked)
            monkeypatch.undo()

    run(main())


def test_a_cancelled_request_leaves_a_session_that_is_of_use(
    server: PostgresServer,
    backend: PostgresBackend,
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    # Its answer is read by the release, if it comes soon.
    name = new_name("cancelled")

    async def main() -> None:
        calls = calls_of(backend)
        granted(await calls.try_acquire(name, "a", 30.0))
        session = session_of(backend, name, "a")
        for token in ("a", "b"):
            with stopped(session):
                request = calls.renew if token == "a" else calls.try_acquire
                async with asking(request(name, token, 30.0)) as asked:
                    asked.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asked
            assert await calls.release(name, token)
            with pytest.raises(BackendRefused, match="released"):
                await calls.try_acquire(name, token, 30.0)
        assert server.sessions() == [session]
        assert advisory_locks(server) == 0

    run(main())


def test_a_cancelled_request_is_asked_again_for_its_answer(
    server: PostgresServer,
    backend: PostgresBackend,
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    name = new_name("again")

    async def main() -> None:
        calls = calls_of(backend)
        granted(await calls.try_acquire(name, "a", 30.0))
        assert await calls.try_acquire(name, "b", 30.0) == Busy()
        session = session_of(backend, name, "b")
        with stopped(session):
            assert await calls.release(name, "a")
            async with asking(calls.try_acquire(name, "b", 30.0)) as asked:
                asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        fence = granted(await calls.try_acquire(name, "b", 30.0))
        assert granted(await calls.try_acquire(name, "b", 30.0)) == fence
        assert server.holders(name) == [session]
        assert await calls.release(name, "b")  # once, although it asked three times
        assert advisory_locks(server) == 0

    run(main())


def test_a_release_ends_what_is_under_way_in_another_task(
    server: PostgresServer, proxy: Proxy, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    name = new_name("meanwhile")

    async def main() -> None:
        with PostgresBackend(server.url(proxy.port), request_timeout=20.0) as backend:
            calls = calls_of(backend)
            granted(await calls.try_acquire("connected", "a", 30.0))
            assert await calls.release("connected", "a")
            proxy.swallow_replies(of_new=False)
            async with asking(calls.try_acquire(name, "a", 30.0)) as asked:
                await until(lambda: server.holders(name), "it is granted")
                releasing = asyncio.create_task(calls.release(name, "a"))
            with pytest.raises(BackendUnavailable):
                await asyncio.wait_for(asked, LATE)
            await asyncio.wait_for(releasing, LATE)
            await until(lambda: server.is_free(name), "the lock is free", LATE)

    run(main())


@pytest.mark.parametrize("call", ["try_acquire", "renew", "release"])
def test_the_end_ends_what_is_under_way_in_a_task(
    server: PostgresServer,
    backend: PostgresBackend,
    call: str,
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    name = new_name("end")

    async def main() -> None:
        calls = calls_of(backend)
        granted(await calls.try_acquire(name, "a", 30.0))
        arguments: tuple[Any, ...] = (name, "a") if call == "release" else (name, "a", 30.0)
        with stopped(session_of(backend, name, "a")):
            async with asking(getattr(calls, call)(*arguments)) as asked:
                backend.close()
            with pytest.raises(BackendUnavailable):
                await asyncio.wait_for(asked, LATE)
        await until(lambda: not server.sessions(), "its session has ended")

    run(main())


def test_an_event_loop_that_ends_in_the_midst_of_a_request_leaves_the_lock_to_be_released(
    server: PostgresServer,
    backend: PostgresBackend,
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    name = new_name("ended")

    async def main() -> None:
        calls = calls_of(backend)
        granted(await calls.try_acquire(name, "a", 30.0))
        with stopped(session_of(backend, name, "a")):
            async with asking(calls.renew(name, "a", 30.0)):
                pass  # the loop cancels it at its end

    run(main())
    assert backend.release(name, "a")
    assert server.is_free(name)


def test_threads_and_tasks_take_turns(
    server: PostgresServer,
    backend: PostgresBackend,
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    name = new_name("turns")

    async def main() -> None:
        calls = calls_of(backend)
        answer = await calls.try_acquire(name, "a", 30.0)
        assert isinstance(answer, Grant)
        for _ in range(20):
            in_thread = asyncio.to_thread(backend.renew, name, "a", 30.0)
            assert all(await asyncio.gather(in_thread, calls.renew(name, "a", 30.0)))
        assert len(server.holders(name)) == 1
        assert await calls.release(name, "a")

    run(main())
