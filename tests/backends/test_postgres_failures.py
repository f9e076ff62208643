"""Risk: a session ends, or says nothing, and its lock is taken for held, for free, or forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import pytest

from backofflock import BackendUnavailable, Busy, DistributedLock
from backofflock.backends.postgres import PostgresBackend

from .fleet import new_name
from .postgres_sessions import (
    LATE,
    advisory_locks,
    deserted,
    granted,
    session_of,
    stopped,
    unanswered,
)
from .servers.base import Server
from .servers.postgres import PostgresServer


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> PostgresServer:
    """Return the server that all tests share, with nobody on it."""
    return deserted(server_of("postgres"))


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """Return a server that nobody else needs."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def backend(server: PostgresServer) -> Iterator[PostgresBackend]:
    with PostgresBackend(server.url(), request_timeout=20.0) as backend:
        yield backend


@pytest.fixture
def other(server: PostgresServer) -> Iterator[PostgresBackend]:
    with PostgresBackend(server.url()) as other:
        yield other


# -- the server ends a session ---------------------------------------------------------------------


def test_a_terminated_session_is_a_lost_lock(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    name = new_name("terminated")
    fence = granted(backend.try_acquire(name, "a", 30.0))
    session = session_of(backend, name, "a")
    server.steal(name)
    assert backend.renew(name, "a", 30.0) is False
    assert backend.release(name, "a") is False
    after = granted(backend.try_acquire(name, "b", 30.0))
    assert after > fence
    assert session_of(backend, name, "b") != session
    assert backend.renew(name, "b", 30.0)
    assert backend.release(name, "b")


def test_a_terminated_session_is_noticed_within_one_renewal_interval(
    server: PostgresServer,
) -> None:
    async def main() -> float:
        lock = DistributedLock(new_name("terminated"), server.url(), ttl=6.0)
        lease = await lock.acquire()
        server.steal(lease.name)
        stolen = time.monotonic()
        while not lease.lost.is_set():
            await asyncio.sleep(0.005)
        noticed = time.monotonic() - stolen
        cast("PostgresBackend", lock._backend).close()
        return noticed

    assert asyncio.run(main()) < 2.0 + LATE


def test_a_silent_holder_is_ended_by_the_server(
    backend: PostgresBackend, other: PostgresBackend
) -> None:
    name = new_name("silent")
    asked = time.monotonic()
    fence = granted(backend.try_acquire(name, "a", 0.5))
    session = session_of(backend, name, "a")
    while (answer := other.try_acquire(name, "b", 30.0)) == Busy():
        assert time.monotonic() - asked < 10.0
        time.sleep(0.005)
    assert time.monotonic() - asked >= 0.5
    assert granted(answer) > fence
    assert backend.renew(name, "a", 0.5) is False
    assert backend.release(name, "a") is False
    granted(backend.try_acquire("unrelated", "c", 30.0))
    assert session_of(backend, "unrelated", "c") != session
    assert other.renew(name, "b", 30.0)


def test_an_idle_session_that_has_ended_is_replaced_without_doubt(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    name = new_name("replaced")
    granted(backend.try_acquire(name, "a", 30.0))
    assert backend.release(name, "a")
    (idle,) = server.sessions()
    server.value("SELECT pg_terminate_backend(%s, 10000)", idle)
    granted(backend.try_acquire(name, "b", 30.0))  # at once, no error
    # So is that of one who waits.
    assert backend.try_acquire(name, "c", 30.0) == Busy()
    server.value("SELECT pg_terminate_backend(%s, 10000)", session_of(backend, name, "c"))
    assert backend.try_acquire(name, "c", 30.0) == Busy()


# -- the server goes away --------------------------------------------------------------------------


def test_a_server_that_is_away_is_found_again(own_server: PostgresServer) -> None:
    with PostgresBackend(own_server.url()) as backend:
        granted(backend.try_acquire("held", "a", 30.0))
        granted(backend.try_acquire("free", "b", 30.0))
        assert backend.release("free", "b")
        own_server.stop()
        assert backend.renew("held", "a", 30.0) is False  # its session is over, whoever is to blame
        for token in ("a", "c"):
            with pytest.raises(BackendUnavailable, match="refused"):
                backend.try_acquire("held", token, 30.0)
        own_server.start()
        granted(backend.try_acquire("held", "c", 30.0))


# -- the server says nothing -----------------------------------------------------------------------


def test_a_renewal_that_is_late_is_not_a_loss(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    name = new_name("late")
    fence = granted(backend.try_acquire(name, "a", 30.0))
    session = session_of(backend, name, "a")
    for _ in range(3):  # the statement is another one the first time, the second, and after that
        with stopped(session):
            unanswered(backend, partial(backend.renew, name, "a", 30.0))
            unanswered(backend, partial(backend.renew, name, "a", 30.0))
        assert backend.renew(name, "a", 30.0)
    assert granted(backend.try_acquire(name, "a", 30.0)) == fence
    assert server.holders(name) == [session]
    assert backend.release(name, "a")
    assert advisory_locks(server) == 0


def test_a_late_grant_is_one(
    server: PostgresServer, backend: PostgresBackend, other: PostgresBackend
) -> None:
    name = new_name("late")
    for token in ("b", "c", "d"):
        granted(other.try_acquire(name, token, 30.0))
        assert backend.try_acquire(name, token, 30.0) == Busy()
        session = session_of(backend, name, token)
        with stopped(session):
            assert other.release(name, token)
            unanswered(backend, partial(backend.try_acquire, name, token, 30.0))
            unanswered(backend, partial(backend.try_acquire, name, token, 30.0))
        granted(backend.try_acquire(name, token, 30.0))
        assert server.holders(name) == [session]
        assert backend.release(name, token)  # once, although it asked three times
        assert advisory_locks(server) == 0


def test_a_server_that_greets_nobody_is_not_waited_for(
    own_server: PostgresServer,
) -> None:
    with PostgresBackend(own_server.url()) as backend:
        with stopped(own_server.pid):
            unanswered(backend, partial(backend.try_acquire, "orders", "a", 30.0))
        granted(backend.try_acquire("orders", "a", 30.0))


def test_the_next_host_gets_its_share_of_the_time(server: PostgresServer) -> None:
    with PostgresServer() as silent:
        both = f"127.0.0.1:{silent.port},127.0.0.1:{server.port}"
        url = server.url().replace(f"127.0.0.1:{server.port}", both)
        with PostgresBackend(url, request_timeout=4.0) as backend, stopped(silent.pid):
            began = time.monotonic()
            granted(backend.try_acquire("orders", "a", 30.0))
            assert 2.0 <= time.monotonic() - began < 4.0
