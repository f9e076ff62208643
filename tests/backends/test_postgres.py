"""What is particular to PostgreSQL: keys, sessions, requests, and who is let in. What all backends
promise is in the contract."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from backofflock import BackendRefused, BackendUnavailable, Busy, Grant, connect
from backofflock.backends import _postgres_calls as under_test
from backofflock.backends._libpq_errors import is_final
from backofflock.backends._steps import Patience, Wanted, in_thread
from backofflock.backends.postgres import PostgresBackend, lock_key

from .fleet import new_name
from .postgres_sessions import advisory_locks, deserted, eventually, granted, session_of
from .servers.base import Server
from .servers.postgres import PASSWORD, QUOTED, USER, PostgresServer


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> PostgresServer:
    """Return the server that all tests share, with nobody on it."""
    return deserted(server_of("postgres"))


@pytest.fixture
def backend(server: PostgresServer) -> Iterator[PostgresBackend]:
    with PostgresBackend.from_url(server.url()) as backend:
        yield backend


# -- keys ------------------------------------------------------------------------------------------


def test_a_lock_is_known_by_64_bits_of_its_whole_name(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    names = ["orders", "orders/1", "orders/2", "x" * 10_000, "x" * 10_001]
    keys = {lock_key(name) for name in names}
    assert len(keys) == len(names)
    assert all(-(2**63) <= key < 2**63 and abs(key) > 2**32 for key in keys)
    for name in names:
        granted(backend.try_acquire(name, "one token", 30.0))
    for name in names:
        assert len(server.holders(name)) == 1
    assert advisory_locks(server) == len(names)


# -- sessions --------------------------------------------------------------------------------------


def test_locks_of_one_session_do_not_stack(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    name = new_name("stack")
    for i in range(100):
        token = f"token {i}"
        fence = granted(backend.try_acquire(name, token, 30.0))
        assert granted(backend.try_acquire(name, token, 30.0)) == fence
        assert backend.renew(name, token, 30.0)
        assert backend.release(name, token)
        assert advisory_locks(server) == 0, i
    assert len(server.sessions()) == 1  # the one session all the time


def test_an_acquisition_takes_two_requests(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    name = new_name("requests")
    before = server.commands()
    for i in range(20):
        granted(backend.try_acquire(name, f"token {i}", 30.0))
        assert backend.release(name, f"token {i}")
    assert server.commands() - before == 40


def test_a_try_and_a_renewal_take_one_request_each(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    name = new_name("requests")
    granted(backend.try_acquire(name, "a", 30.0))
    before = server.commands()
    for _ in range(10):
        assert backend.try_acquire(name, "b", 30.0) == Busy()
    assert server.commands() - before == 10
    for _ in range(10):
        assert backend.renew(name, "a", 30.0)
    assert server.commands() - before == 20
    assert not backend.release(name, "b")  # its session is as it was: nothing to ask for
    assert server.commands() - before == 20


@pytest.mark.parametrize("max_idle", [0, 2])
def test_each_token_has_a_session_and_few_are_kept(server: PostgresServer, max_idle: int) -> None:
    with PostgresBackend(server.url(), max_idle=max_idle) as backend:
        names = [new_name("session") for _ in range(5)]
        for name in names:
            granted(backend.try_acquire(name, name, 30.0))
        assert backend.try_acquire(names[0], "another", 30.0) == Busy()
        of_waiter = session_of(backend, names[0], "another")
        assert backend.try_acquire(names[0], "another", 30.0) == Busy()
        assert session_of(backend, names[0], "another") == of_waiter
        holders = [pid for name in names for pid in server.holders(name)]
        assert sorted([*holders, of_waiter]) == sorted(server.sessions())
        assert len(set(holders)) == 5
        for name in names:
            assert backend.release(name, name)
        assert not backend.release(names[0], "another")
        eventually(lambda: len(server.sessions()) == max_idle, f"{max_idle} are left")


def test_only_a_holder_is_ended_for_its_silence(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    with PostgresBackend.from_url(server.url()) as other:
        name = new_name("silence")
        granted(other.try_acquire(name, "b", 30.0))
        assert backend.try_acquire(name, "a", 0.4) == Busy()
        waiting = session_of(backend, name, "a")
        time.sleep(1.2)  # three times the ttl that it asked for
        assert waiting in server.sessions()
        assert other.release(name, "b")
        granted(backend.try_acquire(name, "a", 1.5))
        assert session_of(backend, name, "a") == waiting
        assert backend.release(name, "a")
        time.sleep(3.0)  # it was a holder; now it is kept for others
        assert waiting in server.sessions()


@pytest.mark.parametrize(
    "accident",
    [b"SELECT pg_advisory_unlock_all()", b"DISCARD ALL", b"RESET ALL"],
    ids=["unlocked", "discarded", "another session"],
)
def test_a_lock_that_its_session_has_lost_is_lost(
    server: PostgresServer, backend: PostgresBackend, accident: bytes
) -> None:
    # As through a proxy that gives our statements to sessions which others use as well.
    name = new_name("lost")
    granted(backend.try_acquire(name, "a", 30.0))
    assert backend.renew(name, "a", 30.0)
    session = session_of(backend, name, "a")
    in_its_session(backend, name, accident)
    assert not backend.renew(name, "a", 30.0)
    assert not backend.release(name, "a")
    eventually(lambda: session not in server.sessions(), "it is not given to others")
    granted(backend.try_acquire(name, "b", 30.0))


@pytest.mark.parametrize("call", ["renew", "release"])
def test_a_session_that_others_use_too_is_refused_with_what_to_do(
    backend: PostgresBackend, call: str
) -> None:
    # As PgBouncer does with pool_mode = transaction. Ours are the same names in all sessions.
    name = new_name("shared")
    granted(backend.try_acquire(name, "a", 30.0))
    session = backend._calls._locks[name, "a"].session
    assert session is not None
    after_this = next(session._number) + 2
    in_its_session(backend, name, b'PREPARE "backofflock %d" AS SELECT 1' % after_this)
    arguments = [30.0] if call == "renew" else []
    with pytest.raises(BackendRefused, match="others too; .* pool_mode = session"):
        getattr(backend, call)(name, "a", *arguments)


AT = 'connection to server at "10.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("said", "lasts"),
    [
        (AT + "FATAL:  connection requires a valid client certificate", True),
        (AT + "SSL error: certificate verify failed", True),
        (AT + 'server certificate for "a" does not match host name "b"', True),
        (AT + 'root certificate file "/root.crt" does not exist', True),
        (AT + 'certificate present, but not private key file "/client.key"', True),
        (AT + 'private key file "/client.key" has group or world access', True),
        (AT + 'could not open certificate file "/client.crt": Too many open files', False),
        (AT + "Connection refused", False),
        # With sslmode=prefer it tries without TLS then, and that is what counts.
        (f'{AT}not private key file "/a.key" {AT}FATAL:  the database system is', False),
        (f"{AT}SSL error: certificate verify failed {AT}Connection refused", False),
        (f"{AT}Connection refused {AT}FATAL:  password authentication failed", True),
    ],
)
def test_what_libpq_says_of_its_last_attempt_counts(said: str, lasts: bool) -> None:
    assert is_final(psycopg.OperationalError(said), said) is lasts


def test_the_answer_to_an_unlock_is_read(server: PostgresServer, backend: PostgresBackend) -> None:
    name = new_name("unlock")
    granted(backend.try_acquire(name, "a", 30.0))
    session = session_of(backend, name, "a")
    in_its_session(backend, name, b"SELECT pg_advisory_unlock_all()")
    assert not backend.release(name, "a")
    eventually(lambda: session not in server.sessions(), "it is not given to others")


def in_its_session(backend: PostgresBackend, name: str, statement: bytes) -> None:
    session = backend._calls._locks[name, "a"].session
    assert session is not None
    patience = Patience(time.monotonic() + 10.0, Wanted())
    in_thread(session.ask(statement, [], patience))


# -- who is let in ---------------------------------------------------------------------------------


def test_what_is_refused(server: PostgresServer) -> None:
    url = server.url()
    unfit = {
        "password authentication failed": url.replace(QUOTED, "wrong"),
        'database "nowhere" does not exist': url.replace("/postgres?", "/nowhere?"),
        "no password supplied": url.replace(f":{QUOTED}@", "@"),
        'permission denied for database "closed"': url.replace("/postgres?", "/closed?"),
    }
    with server.asked() as connection:
        connection.execute("CREATE DATABASE closed")
        connection.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
        try:
            for reason, conninfo in unfit.items():
                with PostgresBackend(conninfo) as backend:
                    with pytest.raises(BackendRefused, match=reason) as caught:
                        backend.try_acquire("orders", "a", 30.0)
                    assert_secret(caught.value, backend)
                    assert not backend.release("orders", "a")
        finally:
            connection.execute("DROP DATABASE closed")


def test_what_may_be_had_later(server: PostgresServer, backend: PostgresBackend) -> None:
    with server.asked() as connection:
        connection.execute(f"ALTER ROLE {USER} CONNECTION LIMIT 1".encode())
        try:
            granted(backend.try_acquire("orders", "a", 30.0))
            with pytest.raises(BackendUnavailable, match="too many connections") as caught:
                backend.try_acquire("orders", "b", 30.0)
            assert_secret(caught.value, backend)
        finally:
            connection.execute(f"ALTER ROLE {USER} CONNECTION LIMIT -1".encode())
    assert backend.try_acquire("orders", "b", 30.0) == Busy()


def test_a_standby_is_passed_over(server: PostgresServer) -> None:
    # Sessions of a standby have locks of their own: another world.
    with PostgresServer() as standby:
        standby.stop()
        standby.demote()
        standby.start()
        with (
            PostgresBackend(standby.url()) as backend,
            pytest.raises(BackendUnavailable, match="standby"),
        ):
            backend.try_acquire("orders", "a", 30.0)
        both = f"127.0.0.1:{standby.port},127.0.0.1:{server.port}"
        url = server.url().replace(f"127.0.0.1:{server.port}", both)
        with PostgresBackend(url) as backend:
            granted(backend.try_acquire("orders", "a", 30.0))
            assert not server.is_free("orders")
        # Who asks for a standby by name does not get a lock that nobody else sees, nor leaves one.
        with PostgresBackend(f"{standby.url()}&target_session_attrs=any") as backend:
            with pytest.raises(BackendUnavailable, match="recovery"):
                backend.try_acquire("orders", "a", 30.0)
            eventually(lambda: standby.is_free("orders"), "it is free there too")


def test_a_lock_without_a_fence_is_given_up(
    server: PostgresServer, backend: PostgresBackend
) -> None:
    function = b"FUNCTION pg_logical_emit_message(boolean, text, text%s)"
    function %= b", boolean" if server.value("SHOW server_version_num") >= "170000" else b""
    name = new_name("no fence")
    with server.asked() as connection:
        connection.execute(b"REVOKE EXECUTE ON %s FROM PUBLIC" % function)
        try:
            with pytest.raises(BackendRefused, match="permission denied"):
                backend.try_acquire(name, "a", 30.0)
            eventually(lambda: server.is_free(name), "it does not keep what it cannot give")
        finally:
            connection.execute(b"GRANT EXECUTE ON %s TO PUBLIC" % function)


def test_an_older_server_is_refused(
    backend: PostgresBackend, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "OLDEST", 1_000_000)
    with pytest.raises(BackendRefused, match="older than PostgreSQL 14"):
        backend.try_acquire("orders", "a", 30.0)
    eventually(lambda: not server.sessions(), "its session was closed")


def assert_secret(error: BaseException, backend: PostgresBackend) -> None:
    """Check that the password is nowhere where it could be seen."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(backend) + str(backend)
    for secret in (PASSWORD, QUOTED, "sesame"):
        assert secret not in shown, shown


# -- what users pass in ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conninfo", "shown"),
    [
        ("postgresql://u:secret@h:1/d?sslmode=disable", "postgresql://u@h:1/d"),
        ("postgres://u:s%20t@h/d", "postgresql://u@h/d"),
        ("host=h port=1 user=u password=secret dbname=d", "postgresql://u@h:1/d"),
        ("postgresql://u:secret@h:1,i:2/d", "postgresql://u@h:1,i:2/d"),
        ("postgresql://u@[::1]:5/d", "postgresql://u@[::1]:5/d"),
        ("postgresql://%2Frun%2Fpg/d", "postgresql://%2Frun%2Fpg/d"),
        ("postgresql:///d?password=secret", "postgresql:///d"),
        ("", "postgresql:///"),
    ],
)
def test_it_shows_itself_without_its_password(conninfo: str, shown: str) -> None:
    with PostgresBackend(conninfo) as backend:
        assert (str(backend), repr(backend)) == (shown, f"<PostgresBackend {shown}>")


@pytest.mark.parametrize(
    "conninfo",
    [
        "postgresql://u:sec%zzret@h/d",
        "postgresql://u:p@secret@h/d",
        "postgresql://u:p@h:1@secret/d",
        "host=h password='secret",
        "postgresql://u:secret@h/d?nonsense=1",
        "secret",
    ],
)
def test_what_cannot_be_read_is_not_shown(conninfo: str) -> None:
    with pytest.raises(ValueError, match="must be a URL such as") as caught:
        connect_or_make(conninfo)
    shown = "".join(traceback.format_exception(caught.value))
    # Its own line of source is not the string: what libpq would have said about it is.
    assert "cret" not in shown.replace("test_what_cannot_be_read_is_not_shown", "")


def connect_or_make(conninfo: str) -> None:
    if conninfo.startswith("postgresql"):
        connect(conninfo)
    PostgresBackend(conninfo)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"request_timeout": 0}, ValueError),
        ({"request_timeout": "1"}, TypeError),
        ({"max_idle": -1}, ValueError),
        ({"max_idle": True}, ValueError),
        ({"max_idle": 1.0}, ValueError),
    ],
)
def test_options_are_checked(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        PostgresBackend("", **options)


def test_a_client_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="conninfo must be a str"):
        PostgresBackend(object())  # type: ignore[arg-type]


def test_a_long_ttl_is_what_the_server_can_count(
    backend: PostgresBackend,
) -> None:
    answer = backend.try_acquire(new_name("long"), "a", 1e9)
    assert isinstance(answer, Grant)
    assert answer.ttl == (2**31 - 1) / 1000
