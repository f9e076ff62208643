"""Risk: threads, a fork, or the end of a backend leave a connection, a lock, or a wrong holder."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial

import pytest

from backofflock import BackendRefused, BackendUnavailable, Busy, Grant
from backofflock.backends.postgres import PostgresBackend

from .fleet import new_name
from .postgres_sessions import (
    LATE,
    advisory_locks,
    deserted,
    eventually,
    granted,
    in_thread,
    session_of,
    stopped,
)
from .servers.base import Server
from .servers.postgres import PostgresServer


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> PostgresServer:
    """Return the server that all tests share, with nobody on it."""
    return deserted(server_of("postgres"))


@pytest.fixture
def backend(server: PostgresServer) -> Iterator[PostgresBackend]:
    with PostgresBackend(server.url()) as backend:
        yield backend


# -- the end ---------------------------------------------------------------------------------------


def test_nothing_is_left_after_close(server: PostgresServer) -> None:
    backend = PostgresBackend(server.url())
    for name in ("held", "released"):
        granted(backend.try_acquire(name, name, 30.0))
    assert backend.try_acquire("held", "waits", 30.0) == Busy()
    assert backend.release("released", "released")
    assert len(server.sessions()) == 3
    backend.close()
    eventually(lambda: not server.sessions(), "all connections are closed")
    assert backend.renew("held", "held", 30.0) is False
    assert backend.release("held", "held") is False
    with pytest.raises(BackendRefused, match="it was closed"):
        backend.try_acquire("held", "another", 30.0)
    backend.close()


def test_close_ends_what_is_under_way(server: PostgresServer) -> None:
    backend = PostgresBackend(server.url(), request_timeout=20.0)
    granted(backend.try_acquire("held", "a", 30.0))
    assert backend.try_acquire("held", "b", 30.0) == Busy()
    with stopped(session_of(backend, "held", "a")), stopped(session_of(backend, "held", "b")):
        calls: list[Future[bool] | Future[Grant | Busy]] = [
            in_thread(partial(backend.renew, "held", "a", 30.0)),
            in_thread(partial(backend.try_acquire, "held", "b", 30.0)),
        ]
        for token in ("a", "b"):
            turn = backend._calls._locks["held", token].turn
            eventually(lambda turn=turn: not turn.key, "it is under way")  # type: ignore[misc]
        calls.append(in_thread(partial(backend.release, "held", "a")))
        began = time.monotonic()
        backend.close()
        assert time.monotonic() - began < LATE
        for call in calls:
            eventually(call.done, "it ends", LATE)
            error = call.exception()
            assert error is None or isinstance(error, BackendUnavailable)
    eventually(lambda: not server.sessions(), "all connections are closed")


def test_a_backend_that_is_dropped_takes_its_connections_along(server: PostgresServer) -> None:
    backend = PostgresBackend(server.url())
    granted(backend.try_acquire("held", "a", 30.0))
    granted(backend.try_acquire("free", "b", 30.0))
    assert backend.release("free", "b")
    del backend
    gc.collect()  # any ResourceWarning fails the test
    eventually(lambda: not server.sessions(), "all connections are closed")


# -- threads ---------------------------------------------------------------------------------------


def test_many_threads_on_one_backend(server: PostgresServer, backend: PostgresBackend) -> None:
    names = [new_name("threads") for _ in range(3)]
    inside = dict.fromkeys(names, 0)
    fences: dict[str, list[int]] = {name: [] for name in names}
    failures: list[BaseException] = []

    def contend(number: int) -> None:
        try:
            for i in range(20):
                name, token = names[(number + i) % len(names)], f"{number} {i}"
                while (answer := backend.try_acquire(name, token, 30.0)) == Busy():
                    time.sleep(0.002)
                inside[name] += 1
                assert inside[name] == 1
                fences[name].append(granted(answer))
                inside[name] -= 1
                assert backend.release(name, token)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert failures == []
    assert sum(map(len, fences.values())) == 240
    for of_name in fences.values():
        assert of_name == sorted(set(of_name))
    assert advisory_locks(server) == 0
    assert not backend._calls._locks
    eventually(lambda: len(server.sessions()) == 2, "a few are kept")


def test_released_tokens_are_not_remembered_for_ever(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backofflock.backends._tokens.MANY", 10)
    for i in range(30):
        backend.release("orders", f"{i}")
    released = backend._calls._released
    assert [i for i in range(30) if ("orders", f"{i}") in released] == [*range(20, 30)]
    with pytest.raises(BackendRefused, match="released"):
        backend.try_acquire("orders", "29", 30.0)


# -- fork ------------------------------------------------------------------------------------------

HOLDER_THAT_FORKS = """
import gc, os, sys, threading, time
from backofflock import Busy, Grant
from backofflock.backends.postgres import PostgresBackend

url, name, way = sys.argv[1:]
backend = PostgresBackend(url)
assert isinstance(backend.try_acquire(name, "of the parent", 60.0), Grant)
assert isinstance(backend.try_acquire("free", "of the parent", 60.0), Grant)
assert backend.release("free", "of the parent")
assert backend.try_acquire(name, "of a waiter", 60.0) == Busy()

def in_child():
    assert not backend._calls._idle
    assert not backend.renew(name, "of the parent", 60.0)
    assert not backend.release(name, "of the parent")
    if way == "uses":
        assert backend.try_acquire(name, "of the child", 60.0) == Busy()
        assert isinstance(backend.try_acquire("free", "of the child", 60.0), Grant)
        assert backend.release("free", "of the child")
    if way == "drops":
        globals().pop("backend")
        gc.collect()
    if way == "closes":
        backend.close()

child = os.fork()
if child == 0:
    in_child()
    os.write(1, b"child is done\\n")
    if way == "outlives":
        time.sleep(60.0)
    sys.exit(0)
if way != "outlives":
    assert os.waitpid(child, 0)[1] == 0
    assert backend.renew(name, "of the parent", 60.0)
    assert isinstance(backend.try_acquire("free", "again", 60.0), Grant)
os.write(1, b"%d\\n" % child)  # in one piece, as the child
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("way", ["uses", "drops", "closes", "outlives"])
def test_a_forked_child_has_nothing_of_its_parents(server: PostgresServer, way: str) -> None:
    name = new_name("fork")
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", HOLDER_THAT_FORKS, server.url(), name, way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = sorted([process.stdout.readline().strip(), process.stdout.readline().strip()])
    try:
        assert said[1:] == ["child is done"], said
        assert len(server.holders(name)) == 1
        process.send_signal(signal.SIGKILL)
        # Though its child lives on, if it does: that has no copy of the connection.
        eventually(lambda: server.is_free(name), "the parent is gone, and so is its lock")
        eventually(lambda: not server.sessions(), "and its other sessions")
    finally:
        if way == "outlives" and said[0].isdigit():
            os.kill(int(said[0]), signal.SIGKILL)
        process.kill()
        _, complaints = process.communicate(timeout=30.0)
    assert complaints == ""


FORK_UNDER_WAY = """
import os, sys, threading, time
from backofflock import BackendUnavailable, Grant
from backofflock.backends.postgres import PostgresBackend

url = sys.argv[1]
backend = PostgresBackend(url)
stop = threading.Event()
def work(number):
    i = 0
    while not stop.is_set():
        i += 1
        token = f"{number} {i}"
        assert isinstance(backend.try_acquire(f"of {number}", token, 60.0), Grant)
        assert backend.renew(f"of {number}", token, 60.0)
        assert backend.release(f"of {number}", token)
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for i in range(20):
    child = os.fork()
    if child == 0:
        assert isinstance(backend.try_acquire("of the child", f"{i}", 60.0), Grant)
        assert backend.release("of the child", f"{i}")
        backend.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
backend.close()
print("done")
"""


HOLDER_THAT_FORKS_AS_IT_CONNECTS = """
import os, sys, time
from backofflock.backends import _libpq_connecting
from backofflock.backends.postgres import PostgresBackend

url, name = sys.argv[1:]
wait, children = _libpq_connecting.in_thread, []

def fork_and_wait(steps):
    if not children:
        child = os.fork()
        if child == 0:
            time.sleep(60.0)
            os._exit(0)
        children.append(child)
    return wait(steps)

_libpq_connecting.in_thread = fork_and_wait
assert PostgresBackend(url).try_acquire(name, "of the parent", 60.0).fence
print(*children, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_in_the_middle_of_connecting(server: PostgresServer) -> None:
    name = new_name("fork")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", HOLDER_THAT_FORKS_AS_IT_CONNECTS, server.url(), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            assert len(server.holders(name)) == 1
            process.send_signal(signal.SIGKILL)
            eventually(lambda: server.is_free(name), "the child has no copy of the connection")
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_while_threads_use_the_backend(server: PostgresServer) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning",
         "-c", FORK_UNDER_WAY, server.url()],
        capture_output=True,
        text=True,
        timeout=60.0,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert advisory_locks(server) == 0
    eventually(lambda: not server.sessions(), "all connections are closed")
