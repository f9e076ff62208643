"""Risk: a signal or finalizer strikes within a call, and a lock stays taken, or is doubled."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import FrameType

import pytest

from backofflock import Grant
from backofflock.backends import _flock
from backofflock.backends.file import FileBackend

from ..history.strikes import Strikes, finalizers, signals
from .servers.file import descriptors_in

SOURCES = str(Path(_flock.__file__).parent)
LONG = 60.0

pytestmark = [
    pytest.mark.untraced,  # it strikes in coverage's own code too
    pytest.mark.skipif(
        not hasattr(signal, "setitimer"), reason="this system has no timers that interrupt"
    ),
]


class Struck(BaseException):
    """What a signal handler raises, as Ctrl-C raises KeyboardInterrupt."""


def strike(act: Callable[[], object], after: float, strikes: Strikes) -> None:
    """Raise `Struck` so many seconds from now, in the middle of `act` if it takes longer."""
    armed = True

    def handle(signum: int, frame: FrameType | None) -> None:
        if armed:
            strikes.note(frame)
            raise Struck

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        act()
        armed = False
    except Struck:
        armed = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# What is forgotten in the middle is closed by its finalizer.
FORGOTTEN = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@FORGOTTEN
def test_an_interrupt_anywhere_leaves_nothing_locked_after_the_release(tmp_path: Path) -> None:
    """A lock that is interrupted while it acquires releases the token, as after a cancel."""
    strikes = Strikes(SOURCES)
    one, two = FileBackend(tmp_path), FileBackend(tmp_path)
    latest = time.monotonic() + LONG
    token = 0
    while not strikes.are_enough(400, 8):
        assert time.monotonic() < latest, strikes.inside
        token += 1
        if token % 10 == 0:
            (tmp_path / "orders.lock").unlink()  # so that it is made anew at times
        after = 1e-6 + (token % 100) * 1e-6
        strike(partial(one.try_acquire, "orders", f"a{token}", 1.0), after, strikes)
        one.release("orders", f"a{token}")
        assert "orders" not in one._state.files, token
        for backend in (two, one):
            answer = backend.try_acquire("orders", f"b{token}", 1.0)
            assert isinstance(answer, Grant), token
            assert backend.release("orders", f"b{token}")
            two, one = two, one
        two.close()
        two = FileBackend(tmp_path)
    assert descriptors_in(tmp_path) < strikes.count() / 4


@FORGOTTEN
def test_an_interrupt_anywhere_in_a_release_leaves_nothing_locked(tmp_path: Path) -> None:
    """It may come before the release has begun, but once it has, the lock is free."""
    strikes = Strikes(SOURCES)
    one = FileBackend(tmp_path)
    latest = time.monotonic() + LONG
    token = 0
    while not strikes.are_enough(400, 4):
        assert time.monotonic() < latest, strikes.inside
        token += 1
        assert isinstance(one.try_acquire("orders", f"a{token}", 1.0), Grant), token
        after = 1e-6 + (token % 40) * 1e-6
        strike(partial(one.release, "orders", f"a{token}"), after, strikes)
        one.release("orders", f"a{token}")
        two = FileBackend(tmp_path)
        assert isinstance(two.try_acquire("orders", "b", 1.0), Grant), token
        two.close()


class Takers:
    """One takes the lock and gives it back; the other does in the middle of that, and keeps it."""

    def __init__(self, directory: Path) -> None:
        self.backend = FileBackend(directory)
        self.inside = 0
        self.number = 0
        self.refused = 0
        self.kept: list[str] = []

    def take(self) -> str | None:
        self.number += 1
        token = f"token {self.number}"
        answer = self.backend.try_acquire("orders", token, 1.0)
        if isinstance(answer, Grant):
            self.inside += 1
            assert self.inside == 1, "two are inside"
            return token
        self.refused += 1
        assert not self.backend.release("orders", token)
        return None

    def give_back(self, token: str) -> None:
        self.inside -= 1
        assert self.backend.renew("orders", token, 1.0)
        assert self.backend.release("orders", token)

    def main(self) -> None:
        token = self.take()
        if token is not None:
            self.give_back(token)

    def handler(self) -> None:
        if self.kept:
            self.give_back(self.kept.pop())
            return
        token = self.take()
        if token is not None:
            self.kept.append(token)


@pytest.mark.parametrize("struck_by", [signals, finalizers])
def test_a_handler_takes_the_lock_in_the_middle_of_a_call(
    tmp_path: Path, struck_by: Callable[..., AbstractContextManager[object]]
) -> None:
    takers, strikes = Takers(tmp_path), Strikes(SOURCES)
    latest = time.monotonic() + LONG
    with struck_by(takers.handler, strikes):
        while not strikes.are_enough(1000, 3):
            assert time.monotonic() < latest, strikes.inside
            takers.main()
    if takers.kept:
        takers.handler()
    assert not strikes.errors, strikes.errors[0]
    assert takers.refused > 0
    assert not takers.backend._state.files
    assert descriptors_in(tmp_path) == len(takers.backend._state.unused) == 1
