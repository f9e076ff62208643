"""Risk: the fence of a grant goes back, over a crash or a failover, as the grant does not wait for
the disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, pairwise

import pytest

from backofflock import BackendUnavailable, Busy, Grant
from backofflock.backends._session_lock import BLOCK
from backofflock.backends.postgres import PostgresBackend

from .fleet import new_name
from .postgres_sessions import eventually, granted, unanswered
from .servers.postgres import PostgresServer

END = "SELECT pg_current_wal_insert_lsn()::text"
NOT_ON_DISK = "SELECT (pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn())::int8"
IN_THE_MIDST = f"""
SELECT (pg_current_wal_flush_lsn() - '0/0') %% 8192 = 0 AND ({NOT_ON_DISK}) BETWEEN 1 AND 100000
"""
"""Whether the end of a page is what is on disk of a record, and little is missing."""

FAR_BEHIND = f"""
SELECT (pg_current_wal_flush_lsn() - '0/0') %% 8192 <> 0 AND ({NOT_ON_DISK}) > 131072
"""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Return a server that nobody else needs, and that leaves the disk alone unless it is told."""
    with PostgresServer(wal_writer_delay="10s") as server:
        yield server


@pytest.fixture
def backend(server: PostgresServer) -> Iterator[PostgresBackend]:
    with PostgresBackend(server.url()) as backend:
        yield backend


def acquired(backend: PostgresBackend, times: int = 1) -> list[int]:
    """Acquire one lock and release it; return the fences."""
    fences = []
    for _ in range(times):
        token = new_name("token")
        fences.append(granted(asked_until_answered(backend, token)))
        assert backend.release("orders", token)
    return fences


def asked_until_answered(backend: PostgresBackend, token: str) -> Grant | Busy:
    """Return the answer of a server that may be about to start."""
    answers: list[Grant | Busy] = []

    def answered() -> bool:
        try:
            answers.append(backend.try_acquire("orders", token, 30.0))
        except BackendUnavailable:
            return False
        return True

    eventually(answered, "it answers", 30.0)
    return answers[0]


def write(server: PostgresServer, size: int) -> str:
    """Write a record of some bytes to the log; return where it ends."""
    query = "SELECT pg_logical_emit_message(false, 'the tests', repeat('x', %s))::text"
    place: str = server.value(query, size)
    return place


def restart(server: PostgresServer) -> None:
    """Stop all its processes at once, and start it again."""
    server.stop()
    server.start()


def kill_a_session(server: PostgresServer) -> None:
    """Kill one of its processes, so that it ends all others and begins anew."""
    with server.asked() as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        eventually(lambda: not server.is_ready(), "it has noticed")
    eventually(server.is_ready, "it is there again", 30.0)


def promote_it(server: PostgresServer) -> None:
    """Start it as a standby after a crash, and promote that, as cluster managers do."""
    server.stop()
    server.demote()
    server.start()
    assert server.value("SELECT pg_promote()")


CRASHES = [restart, kill_a_session, promote_it]


def test_no_grant_has_a_fence_of_another(backend: PostgresBackend) -> None:
    grants = []
    for i in range(200):  # quickly, so that next to nothing else is written
        grant = backend.try_acquire("orders", f"{i}", 30.0)
        assert isinstance(grant, Grant)
        assert backend.release("orders", f"{i}")
        grants.append(grant)
    for earlier, later in pairwise(grants):
        assert earlier.last == earlier.fence + BLOCK - 1 < later.fence


@pytest.mark.parametrize("crash", CRASHES)
def test_fences_grow_over_a_crash(
    server: PostgresServer, backend: PostgresBackend, crash: Callable[[PostgresServer], None]
) -> None:
    fences = []
    for _ in range(3):
        # More than a start or a promotion writes; anew if the log was written just then.
        while server.value(NOT_ON_DISK) < 65536:
            write(server, 65536)
            fences += acquired(backend, 50)
        end = server.value(END)
        crash(server)
        again = "SELECT pg_current_wal_insert_lsn() < %s::pg_lsn"
        assert server.value(again, end), "it gives out places in the log that it gave out before"
        fences += acquired(backend)
    assert fences == sorted(set(fences))


@pytest.mark.parametrize("crash", CRASHES)
def test_fences_grow_where_the_log_ends_in_the_midst_of_a_record(
    server: PostgresServer, backend: PostgresBackend, crash: Callable[[PostgresServer], None]
) -> None:
    acquired(backend)
    # So large a record is written page by page; how far, when the server looks, is up to chance.
    sizes = count(1_200_000, 10_000)
    while not server.value(IN_THE_MIDST):
        write(server, next(sizes))
    fences = acquired(backend)
    crash(server)
    fences += acquired(backend)
    assert fences == sorted(set(fences))


def test_a_grant_waits_for_a_log_that_is_far_behind(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    end = ""
    while not server.value(FAR_BEHIND):
        server.value("SELECT pg_logical_emit_message(true, 'the tests', '')::text")  # to the disk
        for _ in range(20):
            end = write(server, 10_000)
    fences = acquired(backend)
    assert server.value("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", end)
    restart(server)
    assert acquired(backend) > fences


def test_a_grant_waits_for_a_standby_that_must_have_it(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    acquired(backend)
    with server.asked() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = nobody")
        connection.execute("SELECT pg_reload_conf()")
    eventually(lambda: server.value("SHOW synchronous_standby_names"), "it is to wait")
    unanswered(backend, partial(backend.try_acquire, "orders", "a", 30.0))


def test_a_server_that_does_not_tell_how_far_its_log_is(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    # As Amazon Aurora, of which a function of that name is all that it has.
    with server.asked() as connection:
        connection.execute(
            "CREATE FUNCTION pg_catalog.aurora_version() RETURNS int LANGUAGE sql AS 'SELECT 1'"
        )
    fences = []
    for _ in range(3):
        fences += acquired(backend, 3)
        assert server.value(NOT_ON_DISK) == 0
        restart(server)
    assert fences == sorted(set(fences))
    assert fences[-1] < BLOCK * server.value("SELECT pg_current_xact_id()::text::int8")
