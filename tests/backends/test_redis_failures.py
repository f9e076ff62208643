"""What the failures of Redis mean: whether asking again is of use, and that no password is told."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from ssl import SSLCertVerificationError
from typing import Any, cast

import pytest

from backofflock import BackendRefused, BackendUnavailable, Grant, connect
from backofflock.backends.redis import RedisBackend

from .redis_stand_in import answering, hanging_up
from .servers.base import Server, free_port
from .servers.redis import RedisServer

PASSWORD = "s3cret/with@everything:in it"
QUOTED = "s3cret%2Fwith%40everything%3Ain%20it"

Failure = BackendRefused | BackendUnavailable


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> RedisServer:
    server = cast("RedisServer", server_of("redis"))
    server.admin.flushall()
    return server


@pytest.fixture
def backend(server: RedisServer) -> Iterator[RedisBackend]:
    with RedisBackend.from_url(server.url()) as backend:
        yield backend


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """Return a server that wants a user and a password."""
    with RedisServer(password=PASSWORD, user="locks") as server:
        server.admin.execute_command("ACL", "SETUSER", "default", "nopass")
        yield server


@pytest.fixture(params=["threads", "asyncio"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Failure | None]:
    """Return what makes a call and returns how it failed, in threads and in tasks."""

    def ask(url: str, call: str = "try_acquire", **options: Any) -> Failure | None:
        arguments = ("orders", "token") if call == "release" else ("orders", "token", 30.0)
        with RedisBackend.from_url(url, **options) as backend:
            try:
                if request.param == "threads":
                    getattr(backend, call)(*arguments)
                else:
                    asyncio.run(in_task(backend, call, arguments))
            except (BackendRefused, BackendUnavailable) as error:
                failure = error
            else:
                return None
        assert (failure.call, failure.backend) == (call, str(backend))
        return failure

    async def in_task(backend: RedisBackend, call: str, arguments: tuple[Any, ...]) -> None:
        await getattr(backend.native("asyncio"), call)(*arguments)

    return ask


# -- what a server answers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        "-LOADING Redis is loading the dataset in memory",
        "-CLUSTERDOWN The cluster is down",
        "-CLUSTERDOWN Hash slot not served",
        "-TRYAGAIN Multiple keys request during rehashing of slot",
        "-ASK 3999 127.0.0.1:6381",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "-READONLY You can't write against a read only replica.",
        "-OOM command not allowed when used memory > 'maxmemory'.",
        "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "-MISCONF Redis is configured to save RDB snapshots, but it can't persist to disk.",
        "-NOREPLICAS Not enough good replicas to write.",
        "-ERR max number of clients reached",
        "-ERR Error running script (call to f_608e183a): @user_script:1: @user_script: 1: -OOM no",
    ],
)
def test_what_passes_is_unavailable(answer: str, ask: Callable[..., Failure | None]) -> None:
    with answering(EVALSHA=answer) as address:
        assert isinstance(ask(f"redis://{address}"), BackendUnavailable)


@pytest.mark.parametrize(
    "answer",
    [
        "-NOAUTH Authentication required.",
        "-NOPERM this user has no permissions to run the 'evalsha' command or its subcommand",
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
        "-ERR Error running script (call to f_608e183a): @user_script:1: WRONGTYPE Operation",
        "-ERR unknown command `EVALSHA`, with args beginning with: `BUSY`, `LOADING`, ",
        "-DENIED Redis is running in protected mode",
        "-MOVED 3999 127.0.0.1:6381",
        "-CROSSSLOT Keys in request don't hash to the same slot",
        "HTTP/1.1 400 Bad Request",
        "SSH-2.0-OpenSSH_9.6",
    ],
)
def test_what_lasts_is_refused(answer: str, ask: Callable[..., Failure | None]) -> None:
    with answering(EVALSHA=answer) as address:
        assert isinstance(ask(f"redis://{address}"), BackendRefused)


def test_a_plain_client_of_a_cluster_is_told_what_to_use(
    ask: Callable[..., Failure | None],
) -> None:
    with answering(EVALSHA="-MOVED 3999 127.0.0.1:6381") as address:
        assert "RedisCluster" in str(ask(f"redis://{address}"))


# -- what a real server answers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "normal", "reason"),
    [
        ("maxmemory", "1", "0", "command not allowed when used memory > 'maxmemory'"),
        ("min-replicas-to-write", "1", "0", "NOREPL"),
    ],
)
def test_a_server_that_cannot_write_is_unavailable_until_it_can(
    server: RedisServer, backend: RedisBackend, setting: str, value: str, normal: str, reason: str
) -> None:
    server.admin.config_set(setting, value)
    try:
        with pytest.raises(BackendUnavailable, match=f"did not answer try_acquire: .*{reason}"):
            backend.try_acquire("orders", "a", 30.0)
    finally:
        server.admin.config_set(setting, normal)
    assert isinstance(backend.try_acquire("orders", "a", 30.0), Grant)


def test_a_holder_may_renew_and_release_though_the_memory_is_full(
    server: RedisServer, backend: RedisBackend
) -> None:
    assert isinstance(backend.try_acquire("orders", "a", 30.0), Grant)
    server.admin.config_set("maxmemory", "1")
    try:
        assert backend.renew("orders", "a", 30.0)
        assert backend.release("orders", "a")
    finally:
        server.admin.config_set("maxmemory", "0")
    assert server.is_free("orders")


def test_a_server_that_became_a_replica_is_unavailable_and_its_connections_are_dropped(
    server: RedisServer, backend: RedisBackend
) -> None:
    # The name of a managed service leads to another server after a failover: who stays connected
    # to the old one would ask in vain for ever.
    def accepted() -> int:
        total: int = server.admin.info("stats")["total_connections_received"]
        return total

    assert not backend.release("orders", "connects")
    server.admin.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
    before = accepted()
    try:
        for _ in range(2):
            with pytest.raises(BackendUnavailable, match="write against a read only replica"):
                backend.try_acquire("orders", "a", 30.0)
        assert accepted() == before + 1
    finally:
        server.admin.execute_command("REPLICAOF", "NO", "ONE")

    async def main() -> None:
        calls = backend.native("asyncio")
        assert calls is not None
        assert not await calls.release("orders", "connects")
        server.admin.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
        before = accepted()
        try:
            for _ in range(2):
                with pytest.raises(BackendUnavailable, match="write against a read only replica"):
                    await calls.try_acquire("orders", "a", 30.0)
            assert accepted() == before + 1
        finally:
            server.admin.execute_command("REPLICAOF", "NO", "ONE")

    asyncio.run(main())


# -- no answer -------------------------------------------------------------------------------------


def test_nobody_listens(ask: Callable[..., Failure | None], tmp_path: Any) -> None:
    assert isinstance(ask(f"redis://127.0.0.1:{free_port()}"), BackendUnavailable)
    assert isinstance(ask(f"unix://{tmp_path}/nothing"), BackendUnavailable)


def test_the_client_does_not_try_again_by_itself(ask: Callable[..., Failure | None]) -> None:
    # The lock does, with its back-off and until its own deadline.
    with hanging_up() as (address, heard):
        assert isinstance(ask(f"redis://{address}"), BackendUnavailable)
    assert len(heard) == 1


@pytest.mark.parametrize("call", ["try_acquire", "renew", "release"])
def test_a_server_that_hangs_is_given_up_after_the_request_timeout(
    server: RedisServer, ask: Callable[..., Failure | None], call: str
) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        failure = ask(server.url(), call, request_timeout=0.2)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert isinstance(failure, BackendUnavailable)
    assert 0.2 <= time.monotonic() - began < 5.0  # the default is 5 s


def test_a_timeout_in_the_url_is_obeyed(
    server: RedisServer, ask: Callable[..., Failure | None]
) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        assert isinstance(ask(f"{server.url()}?socket_timeout=0.2"), BackendUnavailable)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert 0.2 <= time.monotonic() - began < 5.0


def test_an_exception_that_the_caller_handles_is_not_taken_for_a_cause(
    ask: Callable[..., Failure | None],
) -> None:
    # What led to it is searched for passwords, and for what it says of a certificate.
    mine = SSLCertVerificationError("with args beginning with: mine")
    mine.reason = "CERTIFICATE_VERIFY_FAILED"
    try:
        raise mine
    except OSError:
        failure = ask(f"redis://127.0.0.1:{free_port()}")
    assert isinstance(failure, BackendUnavailable)
    assert mine.args == ("with args beginning with: mine",)


# -- passwords -------------------------------------------------------------------------------------


def told(error: BaseException | None) -> str:
    """Return all that a log would have of an error and its causes."""
    assert error is not None
    return "".join(traceback.format_exception(error)) + repr(error)


def test_a_user_with_the_rights_of_the_docs_page_has_all_it_takes(
    guarded: RedisServer, ask: Callable[..., Failure | None]
) -> None:
    guarded.admin.script_flush()
    for url in (guarded.url(), guarded.socket_url()):
        for call in ("try_acquire", "renew", "release"):
            assert ask(url, call) is None


@pytest.mark.parametrize("login", ["locks:wr0ng@", ":wr0ng@", "locks:@", "nobody:wr0ng@"])
def test_a_wrong_password_is_refused_and_not_told(
    guarded: RedisServer, ask: Callable[..., Failure | None], login: str
) -> None:
    guarded.admin.execute_command("ACL", "SETUSER", "default", "resetpass")
    try:
        for address in (
            f"redis://{login}127.0.0.1:{guarded.port}",
            f"unix://{login}{guarded.socket}",
        ):
            failure = ask(address)
            assert isinstance(failure, BackendRefused)
            assert "wr0ng" not in told(failure)
    finally:
        guarded.admin.execute_command("ACL", "SETUSER", "default", "nopass")


def test_a_server_that_repeats_the_password_is_not_repeated(
    ask: Callable[..., Failure | None],
) -> None:
    # Servers without AUTH do so: it is an unknown command, shown with its arguments.
    echo = f"-ERR unknown command `AUTH`, with args beginning with: `locks`, `{PASSWORD}`, "
    for answer in (echo, f"-ERR what is {PASSWORD}?", f"-WRONGPASS {PASSWORD}"):
        with answering(AUTH=answer, EVALSHA=":0") as address:
            for url in (
                f"redis://locks:{QUOTED}@{address}",
                f"redis://{address}?username=locks&password={QUOTED}",
            ):
                failure = ask(url)
                assert isinstance(failure, BackendRefused)
                assert "s3cret" not in told(failure)


def test_the_password_is_not_shown() -> None:
    for url, shown in {
        f"redis://locks:{QUOTED}@db:6380/3": "redis://db:6380/3",
        f"redis://:{QUOTED}@db": "redis://db:6379/0",
        f"redis://db?password={QUOTED}&db=2": "redis://db:6379/2",
        f"rediss://locks:{QUOTED}@[::1]:6380/0": "rediss://[::1]:6380/0",
        f"unix://locks:{QUOTED}@/run/redis.sock?db=1": "unix:///run/redis.sock?db=1",
        f"REDIS://:{QUOTED}@db": "redis://db:6379/0",
    }.items():
        backend = connect(url)
        assert str(backend) == shown
        assert repr(backend) == f"RedisBackend('{shown}')"
        assert str(cast("RedisBackend", backend).native("asyncio")) == shown


@pytest.mark.parametrize(
    "url",
    [
        "redis://locks:s3cret/more@db",
        "redis://:s3cret@db:s3cret",
        "redis://db?socket_timeout=s3cret",
        "redis://s3cret[@db",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_and_not_told(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as caught:
        RedisBackend.from_url(url)
    assert "s3cret" not in told(caught.value)


def test_an_option_that_nobody_knows_is_refused_at_once() -> None:
    nothing: dict[str, Any] = {}
    for url, options in (("redis://db?retries=3", nothing), ("redis://db", {"retries": 3})):
        with pytest.raises(TypeError, match="have no option 'retries'"):
            RedisBackend.from_url(url, **options)


@pytest.mark.parametrize("seconds", [0, -1, None, "5"])
def test_a_request_timeout_must_be_a_time(seconds: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="request_timeout must be"):
        RedisBackend.from_url("redis://db", request_timeout=seconds)
