"""Risk: who looks for an answer before he sleeps for it keeps others from their turn, goes on
looking for one from far away, or cannot be stopped."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from backofflock import Busy
from backofflock.backends import _libpq, _steps
from backofflock.backends._steps import Spin, Wire
from backofflock.backends.postgres import PostgresBackend

from .fleet import new_name
from .postgres_sessions import advisory_locks, deserted, granted
from .proxy import Proxy
from .servers.base import Server
from .servers.postgres import PostgresServer

FOR_EVER = 600.0
"""Seconds, more than any test takes."""


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with closing(one), closing(other):
        yield one, other


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> PostgresServer:
    """Return the server that all tests share, with nobody on it."""
    return deserted(server_of("postgres"))


@pytest.fixture
def spins(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return what each spin of a thread came to, so far."""
    answers: list[bool] = []
    wait = Spin.wait

    def counted(self: Spin, seconds: float) -> bool:
        answers.append(wait(self, seconds))
        return answers[-1]

    monkeypatch.setattr(Spin, "wait", counted)
    return answers


def test_a_spin_ends_as_soon_as_there_is_something(
    sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_steps, "SPIN", FOR_EVER)
    monkeypatch.setattr(_steps, "yield_processor", lambda: sockets[1].send(b"!"))
    spin = Spin(sockets[0].fileno())
    assert spin.wait(FOR_EVER)
    sockets[0].recv(1)

    async def main() -> bool:
        asyncio.get_running_loop().call_soon(sockets[1].send, b"!")
        return await spin.wait_in_task(FOR_EVER)

    assert asyncio.run(main())


@pytest.mark.parametrize(("limit", "seconds"), [(0.0, FOR_EVER), (FOR_EVER, 0.0)])
def test_a_spin_ends_in_time_if_nothing_comes(
    sockets: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    limit: float,
    seconds: float,
) -> None:
    monkeypatch.setattr(_steps, "SPIN", limit)
    spin = Spin(sockets[0].fileno())
    assert not spin.wait(seconds)
    assert not asyncio.run(spin.wait_in_task(seconds))


@pytest.mark.parametrize(("near", "spun"), [(FOR_EVER, 6), (0.0, 1)])
def test_only_a_server_that_answers_soon_is_spun_for(
    server: PostgresServer,
    spins: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    near: float,
    spun: int,
) -> None:
    monkeypatch.setattr(_steps, "SPIN", FOR_EVER)
    monkeypatch.setattr(_libpq, "NEAR", near)
    name = new_name("near")
    with PostgresBackend(server.url()) as backend:
        for token in "abc":
            granted(backend.try_acquire(name, token, 30.0))
            assert backend.release(name, token)
    assert spins == [True] * spun


def test_an_answer_from_far_away_is_slept_for_in_the_end(
    server: PostgresServer, spins: list[bool]
) -> None:
    with Proxy(server.port) as proxy, PostgresBackend(server.url(proxy.port)) as backend:
        proxy.delay(0.05)
        granted(backend.try_acquire(new_name("far"), "a", 30.0))
    assert spins == [False]


def test_a_task_that_spins_is_cancelled_as_any_other(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, limit in [(_steps, "SPIN"), (_steps, "SLICE"), (_libpq, "NEAR")]:
        monkeypatch.setattr(module, limit, FOR_EVER)
    monkeypatch.setattr(Wire, "wait_in_task", None)  # nobody sleeps
    name = new_name("cancelled")

    async def main(backend: PostgresBackend, proxy: Proxy) -> None:
        calls = backend.native("asyncio")
        assert calls is not None
        granted(await calls.try_acquire(name, "a", 30.0))
        await calls.release(name, "a")
        proxy.swallow_replies(of_new=False)
        trying = asyncio.create_task(calls.try_acquire(name, "b", 30.0))
        async with asyncio.timeout(10.0):
            while not proxy.replies_held:
                await asyncio.sleep(0)
        assert advisory_locks(server) == 1
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        await calls.release(name, "b")
        async with asyncio.timeout(1.0):
            while advisory_locks(server):
                await asyncio.sleep(0.01)

    with Proxy(server.port) as proxy, PostgresBackend(server.url(proxy.port)) as backend:
        asyncio.run(main(backend, proxy))
        with PostgresBackend(server.url()) as another:
            assert not isinstance(another.try_acquire(name, "c", 30.0), Busy)
