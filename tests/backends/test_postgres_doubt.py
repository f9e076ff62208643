"""Risk: nobody knows what became of a request, and a lock is forgotten, or taken from another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from backofflock import BackendRefused, BackendUnavailable, Busy, DistributedLock
from backofflock.backends import _postgres_calls as under_test
from backofflock.backends._steps import SLICE
from backofflock.backends.postgres import PostgresBackend

from .fleet import new_name
from .postgres_sessions import (
    LATE,
    LIMIT,
    advisory_locks,
    deserted,
    eventually,
    granted,
    in_thread,
    session_of,
    stopped,
    unanswered,
)
from .proxy import Proxy
from .servers.base import Server
from .servers.postgres import PostgresServer


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> PostgresServer:
    """Return the server that all tests share, with nobody on it."""
    return deserted(server_of("postgres"))


@pytest.fixture
def backend(server: PostgresServer) -> Iterator[PostgresBackend]:
    with PostgresBackend(server.url(), request_timeout=20.0) as backend:
        yield backend


@pytest.fixture
def other(server: PostgresServer) -> Iterator[PostgresBackend]:
    with PostgresBackend(server.url()) as other:
        yield other


# -- a release meanwhile ---------------------------------------------------------------------------


@pytest.mark.parametrize("waits", [False, True], ids=["connecting", "asking"])
def test_a_release_ends_what_is_under_way(
    server: PostgresServer, other: PostgresBackend, proxy: Proxy, waits: bool
) -> None:
    name = new_name("meanwhile")
    with PostgresBackend(server.url(proxy.port), request_timeout=20.0) as backend:
        granted(other.try_acquire(name, "b", 30.0))
        if waits:
            assert backend.try_acquire(name, "a", 30.0) == Busy()
        proxy.swallow_replies()
        assert other.release(name, "b")
        asking = in_thread(partial(backend.try_acquire, name, "a", 30.0))
        proxy.until(lambda: proxy.replies_held, "the answer is on its way")
        assert server.is_free(name) is not waits
        releasing = in_thread(partial(backend.release, name, "a"))
        assert eventually(asking.done, "the acquire ends", LATE) < LATE
        assert isinstance(asking.exception(), BackendUnavailable)
        assert eventually(lambda: server.is_free(name), "the lock is free", LATE) < LATE
        proxy.let_go()
        releasing.result(10.0)
        with pytest.raises(BackendRefused, match="released"):
            backend.try_acquire(name, "a", 30.0)
        assert server.is_free(name)


def test_a_cancelled_task_frees_the_lock_whose_grant_it_has_not_heard_of(
    server: PostgresServer, proxy: Proxy
) -> None:
    name = new_name("cancelled")

    async def main() -> None:
        with PostgresBackend(server.url(proxy.port)) as backend:
            async with DistributedLock(new_name("known"), backend):
                pass
            lock = DistributedLock(name, backend)
            proxy.swallow_replies()  # for as long as it takes
            task = asyncio.create_task(lock.acquire())
            while server.is_free(name):
                await asyncio.sleep(0.005)
            task.cancel()
            cancelled = time.monotonic()
            while not server.is_free(name):
                await asyncio.sleep(0.005)
                assert time.monotonic() - cancelled < LATE
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_release_under_way_waits_for_the_answer_of_a_renewal(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That of a keeper, which nobody asked to stop: an answer that comes soon leaves no doubt.
    monkeypatch.setattr(under_test, "GRACE", 15.0)
    name = new_name("both")
    with PostgresBackend(server.url(), request_timeout=20.0) as backend:
        granted(backend.try_acquire(name, "a", 30.0))
        session = session_of(backend, name, "a")
        lock = backend._calls._locks[name, "a"]
        with stopped(session):
            renewing = in_thread(partial(backend.renew, name, "a", 30.0))
            eventually(lambda: not lock.turn.key, "the renewal is under way")
            releasing = in_thread(partial(backend.release, name, "a"))
            eventually(lambda: lock.is_over, "and the release")
            time.sleep(4 * SLICE)  # time enough to end the renewal, if it were to be ended
        assert releasing.result(10.0) is True
        assert renewing.result(10.0) is True
        assert server.sessions() == [session]


def test_a_release_in_doubt_closes_the_session_and_sees_that_it_ends(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    name = new_name("doubt")
    granted(backend.try_acquire(name, "a", 30.0))
    session = session_of(backend, name, "a")
    with stopped(session):
        unanswered(backend, partial(backend.release, name, "a"))
        with pytest.raises(BackendUnavailable):  # it has the lock, and does not end
            backend.release(name, "a")
        with pytest.raises(BackendRefused, match="released"):
            backend.try_acquire(name, "a", 30.0)
    eventually(lambda: session not in server.sessions(), "it has ended")
    assert backend.release(name, "a") is False
    assert server.is_free(name)
    assert not backend._calls._locks
    assert not backend._calls._doubtful


def test_a_pipeline_whose_end_was_never_sent_is_given_up(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    name = new_name("pipeline")
    granted(backend.try_acquire(name, "a", 30.0))
    session = backend._calls._locks[name, "a"].session
    assert session is not None
    session._pgconn.enter_pipeline_mode()
    session.is_due = True  # as if it was interrupted here
    backend.release(name, "a")  # it returns; whether it had the lock is for the server to say
    eventually(lambda: session.pid not in server.sessions(), "its session is over")
    assert advisory_locks(server) == 0


def test_what_nobody_releases_again_is_forgotten(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    name = new_name("forgotten")
    granted(backend.try_acquire(name, "a", 0.2))
    with stopped(session_of(backend, name, "a")):
        unanswered(backend, partial(backend.release, name, "a"))
    assert (name, "a") in backend._calls._locks
    time.sleep(0.2 + 2 * LIMIT)  # the ttl, and what the release might have taken
    granted(backend.try_acquire(name, "b", 30.0))
    assert list(backend._calls._locks) == [(name, "b")]


# -- the connection breaks -------------------------------------------------------------------------


def test_one_is_never_told_that_its_own_lost_session_has_the_lock(
    server: PostgresServer, proxy: Proxy, other: PostgresBackend
) -> None:
    # The session got the lock, the connection broke, and its server has not seen that yet.
    name = new_name("cut")
    with PostgresBackend(server.url(proxy.port), request_timeout=5.0) as backend:
        granted(other.try_acquire(name, "b", 30.0))
        assert backend.try_acquire(name, "a", 30.0) == Busy()
        lost = session_of(backend, name, "a")
        proxy.swallow_replies(of_new=False)
        assert other.release(name, "b")
        asking = in_thread(partial(backend.try_acquire, name, "a", 30.0))
        proxy.until(lambda: proxy.replies_held, "it is granted")
        with stopped(lost):
            proxy.cut()
            assert isinstance(asking.exception(5.0), BackendUnavailable)
            proxy.let_go()
            assert server.holders(name) == [lost]
            with pytest.raises(BackendUnavailable, match="earlier session"):
                backend.try_acquire(name, "a", 30.0)
        granted(backend.try_acquire(name, "a", 30.0))
        assert session_of(backend, name, "a") != lost
        assert backend.release(name, "a")
        assert advisory_locks(server) == 0


def test_a_lost_session_that_its_server_takes_for_alive_is_ended(
    server: PostgresServer, proxy: Proxy, other: PostgresBackend
) -> None:
    # A network that loses all there is of one connection: nobody is told that it is over.
    name = new_name("lost")
    with PostgresBackend(server.url(proxy.port)) as backend:
        granted(backend.try_acquire(name, "a", 30.0))
        lost = session_of(backend, name, "a")
        proxy.swallow_all()
        unanswered(backend, partial(backend.release, name, "a"))
        assert server.holders(name) == [lost]
        with Proxy(server.port) as another_way:
            backend._calls._parameters["port"] = str(another_way.port)
            assert backend.release(name, "a") is True  # it had it, until now
        assert server.is_free(name)
        assert lost not in server.sessions()


def test_another_who_has_the_lock_by_then_is_left_alone(
    server: PostgresServer, proxy: Proxy, other: PostgresBackend
) -> None:
    name = new_name("another")
    with PostgresBackend(server.url(proxy.port)) as backend:
        granted(backend.try_acquire(name, "a", 30.0))
        proxy.swallow_replies()
        unanswered(backend, partial(backend.release, name, "a"))
        eventually(lambda: server.is_free(name), "it was closed")
        fence = granted(other.try_acquire(name, "b", 30.0))
        proxy.let_go()
        assert backend.release(name, "a") is False
        assert granted(other.try_acquire(name, "b", 30.0)) == fence
