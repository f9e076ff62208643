"""What the tests of PostgreSQL ask of its sessions."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

import pytest

from backofflock import BackendUnavailable, Busy, Grant
from backofflock.backends.postgres import PostgresBackend

from .servers.base import Server
from .servers.postgres import PostgresServer

T = TypeVar("T")

LIMIT = 0.5
"""Seconds that a request may take for `unanswered`."""

LATE = 2.0
"""Seconds after that at which it must have ended on a busy machine."""

__all__ = [
    "LATE",
    "LIMIT",
    "advisory_locks",
    "deserted",
    "eventually",
    "granted",
    "in_thread",
    "session_of",
    "stopped",
    "unanswered",
]


def deserted(server: Server) -> PostgresServer:
    """Return the server that all tests share, once nobody is on it."""
    assert isinstance(server, PostgresServer)
    eventually(lambda: not server.sessions(), "the sessions of the test before have ended")
    return server


def granted(answer: Grant | Busy) -> int:
    """Return the fence of a grant."""
    assert isinstance(answer, Grant), answer
    return answer.fence


def session_of(backend: PostgresBackend, name: str, token: str) -> int:
    """Return the process that serves a token."""
    session = backend._calls._locks[name, token].session
    assert session is not None
    return session.pid


def advisory_locks(server: PostgresServer) -> int:
    """Return how many session locks are held."""
    number: int = server.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    return number


def eventually(condition: Callable[[], object], what: str, limit: float = 10.0) -> float:
    """Wait until something is so; return how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit, f"not within {limit} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - began


def in_thread(call: Callable[[], T]) -> Future[T]:
    """Call it in a thread of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process of the server: it hears everything and says nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def unanswered(backend: PostgresBackend, call: Callable[[], object]) -> None:
    """Check that a call says in time that it was not answered."""
    patience, backend._calls._request_timeout = backend._calls._request_timeout, LIMIT
    try:
        began = time.monotonic()
        with pytest.raises(BackendUnavailable):
            call()
        took = time.monotonic() - began
    finally:
        backend._calls._request_timeout = patience
    assert LIMIT <= took < LIMIT + LATE, took
