"""Risk: a KeyboardInterrupt in a call leaves its token's session to a turn that nobody has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from backofflock import BackendUnavailable, Busy
from backofflock.backends.postgres import PostgresBackend

from ..striking import strike
from .fleet import new_name
from .postgres_sessions import advisory_locks, deserted, granted
from .servers.base import Server
from .servers.postgres import PostgresServer

Call = Callable[[PostgresBackend, str], object]

CALLS: dict[str, Call] = {
    "acquire": lambda backend, name: backend.try_acquire(name, "a", 30.0),
    "renew": lambda backend, name: backend.renew(name, "a", 30.0),
    "release": lambda backend, name: backend.release(name, "a"),
}


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> PostgresServer:
    """Return the server that all tests share, with nobody on it."""
    return deserted(server_of("postgres"))


def give_back(backend: PostgresBackend, name: str) -> None:
    """Release the token, as the locks do: again if the first time left a doubt."""
    try:
        backend.release(name, "a")
    except BackendUnavailable as error:
        if "still under way" in error.reason:
            raise  # nobody has the turn
        backend.release(name, "a")


@pytest.mark.parametrize("call", CALLS)
def test_interrupted_anywhere_the_token_can_be_released(server: PostgresServer, call: str) -> None:
    with PostgresBackend(server.url(), request_timeout=2.0) as backend:
        for at in range(1, 1000):
            name = new_name("interrupted")
            if call != "acquire":
                granted(backend.try_acquire(name, "a", 30.0))
            was_struck = strike(partial(CALLS[call], backend, name), at)
            give_back(backend, name)
            other = backend.try_acquire(name, "b", 30.0)
            assert other != Busy(), f"it was not released, at event {at}"
            backend.release(name, "b")
            if not was_struck:
                assert at > 30, "the places were not found"
                break
        else:
            raise AssertionError("there was no end")
    assert advisory_locks(server) == 0
