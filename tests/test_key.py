"""The key, and what ``over=`` accepts as one."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Callable

import anyio
import pytest
import trio

from backofflock import BackoffLock, ThreadBackoffLock
from backofflock._key import KEY, ForeignKey, new_key


def test_a_new_key_can_be_taken_once() -> None:
    key = new_key()
    del key[0]
    with pytest.raises(IndexError):
        del key[0]


def test_a_key_cannot_be_doubled() -> None:
    key = new_key()
    key.append(KEY)
    assert len(key) == 1


GOOD: list[Callable[[], object]] = [
    threading.Lock,
    lambda: threading.Semaphore(1),
    lambda: threading.BoundedSemaphore(1),
    multiprocessing.Lock,
    ThreadBackoffLock,
]


@pytest.mark.parametrize("make", GOOD)
def test_a_foreign_key_is_the_foreign_lock(make: Callable[[], object]) -> None:
    foreign = make()
    key = ForeignKey(foreign)  # type: ignore[arg-type]
    assert len(key) == 1
    del key[0]
    assert len(key) == 0
    assert not foreign.acquire(False)  # type: ignore[attr-defined]
    with pytest.raises(IndexError):
        del key[0]
    key.append(KEY)
    assert len(key) == 1
    assert foreign.acquire(False)  # type: ignore[attr-defined]


class TooGenerous:
    def acquire(self, blocking: bool) -> bool:
        return True

    def release(self) -> None:
        pass


class NotBool(TooGenerous):
    def acquire(self, blocking: bool) -> bool:
        return "yes"  # type: ignore[return-value]


BAD: list[tuple[Callable[[], object], str]] = [
    (object, "not <object"),
    (lambda: threading.Lock, "not <"),
    (asyncio.Lock, "is a coroutine"),
    (anyio.Lock, "is a coroutine"),
    (trio.Lock, "is a coroutine"),
    (BackoffLock, "is a coroutine"),
    (threading.RLock, "twice in a row"),
    (lambda: multiprocessing.RLock(), "twice in a row"),
    (lambda: threading.Semaphore(2), "twice in a row"),
    (TooGenerous, "twice in a row"),
    (NotBool, "returned 'yes'"),
]


@pytest.mark.parametrize(("make", "why"), BAD)
@pytest.mark.parametrize("face", [BackoffLock, ThreadBackoffLock])
def test_what_does_not_exclude_is_refused_and_left_as_it_was(
    make: Callable[[], object], why: str, face: type[BackoffLock | ThreadBackoffLock]
) -> None:
    foreign = make()
    with pytest.raises(TypeError, match=why):
        face(over=foreign)  # type: ignore[arg-type]
    if isinstance(foreign, threading.Semaphore):
        assert foreign.acquire(False)
        assert foreign.acquire(False)


def test_a_foreign_lock_that_is_held_is_accepted_and_left_held() -> None:
    foreign = threading.Lock()
    foreign.acquire()
    lock = ThreadBackoffLock(over=foreign)
    assert lock.locked()
    assert foreign.locked()
    foreign.release()
    with lock:
        assert foreign.locked()


def test_reinit_after_fork_reaches_the_foreign_lock() -> None:
    foreign = threading.Lock()
    lock = ThreadBackoffLock(over=foreign)
    lock.acquire()
    lock._at_fork_reinit()
    assert not foreign.locked()
    semaphore = threading.Semaphore(1)  # has no way to be made anew: it stays as it is
    lock = ThreadBackoffLock(over=semaphore)
    lock.acquire()
    lock._at_fork_reinit()
    assert lock.locked()
