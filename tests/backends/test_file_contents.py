"""The file backend: what is written in its files, and which of them are open."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from backofflock import (
    BackendRefused,
    BackendUnavailable,
    Busy,
    Grant,
    ThreadDistributedLock,
)
from backofflock.backends import _flock
from backofflock.backends._file_state import BURIED, OPEN
from backofflock.backends.file import FileBackend

from .servers.file import FileServer, descriptors_in, is_unlocked


def granted(backend: FileBackend, name: str, token: str = "a") -> int:
    answer = backend.try_acquire(name, token, 1.0)
    assert isinstance(answer, Grant), answer
    assert answer.ttl == float("inf")
    return answer.fence


# -- what is in it ---------------------------------------------------------------------------------


def test_file_tells_people_who_has_the_lock(tmp_path: Path) -> None:
    with FileBackend(tmp_path) as backend:
        before = time.time_ns() // 1000
        fence = granted(backend, "orders")
        assert before <= fence <= time.time_ns() // 1000
        text = (tmp_path / "orders.lock").read_text()
        assert text.split() == [str(fence), str(os.getpid())]
        assert text.endswith("\n")
        assert len(text) == _flock.LINE


@pytest.mark.parametrize(
    "damage",
    [b"", b"\n", b"junk", b"-7 1\n", b"1_0 1\n", b"\0" * 32, b"9" * 19 + b" 1\n", b"9" * 64],
)
def test_damaged_counter_counts_from_the_clock(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "orders.lock").write_bytes(damage)
    with FileBackend(tmp_path) as backend:
        before = time.time_ns() // 1000
        fence = granted(backend, "orders")
        assert before <= fence <= time.time_ns() // 1000
        assert backend.release("orders", "a")
        assert granted(backend, "orders", "b") > fence
        assert len((tmp_path / "orders.lock").read_bytes()) == max(len(damage), _flock.LINE)


def test_fence_grows_though_the_clock_was_set_back(tmp_path: Path) -> None:
    future = time.time_ns() // 1000 + 10**12
    (tmp_path / "orders.lock").write_text(f"{future} 1\n")
    with FileBackend(tmp_path) as one, FileBackend(tmp_path) as two:
        for i, backend in enumerate([one, two, one], start=1):
            assert granted(backend, "orders", str(i)) == future + i
            assert backend.release("orders", str(i))


@pytest.mark.parametrize("text", [b"[[package]]\n" * 10, b"x" * (_flock.LONGEST_TEXT + 1)])
def test_file_of_somebody_else_is_left_alone(tmp_path: Path, text: bytes) -> None:
    theirs = tmp_path / "poetry.lock"
    theirs.write_bytes(text)
    with FileBackend(tmp_path) as backend:
        with pytest.raises(BackendRefused, match="Not the file of a lock, and left alone"):
            backend.try_acquire("poetry", "a", 1.0)
        assert theirs.read_bytes() == text
        assert is_unlocked(theirs)
        theirs.unlink()
        granted(backend, "poetry")


# -- what is open ----------------------------------------------------------------------------------


def test_few_files_stay_open(tmp_path: Path) -> None:
    """The latest used: of a lock that is asked for again and again the file is open already."""
    with FileBackend(tmp_path) as backend, FileBackend(tmp_path) as other:
        granted(backend, "held")
        for i in range(OPEN + 10):
            assert granted(backend, f"orders {i}", f"a{i}")
            assert other.try_acquire(f"orders {i}", f"b{i}", 1.0) == Busy()
            assert backend.release(f"orders {i}", f"a{i}")
        assert descriptors_in(tmp_path) == 2 * OPEN + 1
        other.close()
        assert descriptors_in(tmp_path) == OPEN + 1
        assert list(backend._state.unused) == [f"orders {i}" for i in range(10, OPEN + 10)]
        opened = os.open(tmp_path, os.O_RDONLY)
        os.close(opened)
        granted(backend, "orders 20")
        lowest = os.open(tmp_path, os.O_RDONLY)
        os.close(lowest)
        assert lowest == opened, "it was open already"
        backend.release("orders 20", "a")
        assert list(backend._state.unused)[-1] == "orders 20"
    assert descriptors_in(tmp_path) == 0


def test_what_is_open_is_not_locked(tmp_path: Path) -> None:
    with FileBackend(tmp_path) as backend, FileBackend(tmp_path) as other:
        granted(backend, "orders")
        assert other.try_acquire("orders", "b", 1.0) == Busy()
        assert backend.release("orders", "a")
        assert descriptors_in(tmp_path) == 2
        assert is_unlocked(tmp_path / "orders.lock")
        granted(other, "orders", "b")


def test_descriptors_that_somebody_else_closes(tmp_path: Path) -> None:
    """Programs do, to become a daemon; what is there instead is not written."""
    (tmp_path / "theirs").write_bytes(b"x" * 100)
    theirs = os.open(tmp_path / "theirs", os.O_RDWR)
    with FileBackend(tmp_path) as backend:
        for name in ("orders", "stock"):
            granted(backend, name, name)
            assert backend.release(name, name)
        os.close(backend._state.unused["orders"]._fd)
        os.dup2(theirs, backend._state.unused["stock"]._fd)
        for name in ("orders", "stock"):
            with pytest.raises((BackendUnavailable, BackendRefused)):
                backend.try_acquire(name, "b", 1.0)
            granted(backend, name, "c")
            assert backend.renew(name, "c", 1.0)
    os.close(theirs)
    assert (tmp_path / "theirs").read_bytes() == b"x" * 100


def test_close_frees_what_is_held(tmp_path: Path) -> None:
    backend, other = FileBackend(tmp_path), FileBackend(tmp_path)
    granted(backend, "orders")
    granted(backend, "stock")
    backend.close()
    for name in ("orders", "stock"):
        granted(other, name)
        assert not backend.renew(name, "a", 1.0)
        assert not backend.release(name, "a")
    other.close()
    granted(backend, "orders", "b")  # it can be used again
    backend.close()


def test_backend_that_nobody_has_any_more_frees_what_it_held(tmp_path: Path) -> None:
    backend = FileBackend(tmp_path)
    granted(backend, "orders")
    granted(backend, "stock")
    backend.release("stock", "a")
    del backend
    assert descriptors_in(tmp_path) == 0
    with FileBackend(tmp_path) as other:
        granted(other, "orders")


def test_released_tokens_are_forgotten_in_the_end(tmp_path: Path) -> None:
    with FileBackend(tmp_path) as backend:
        for i in range(BURIED + 1):
            backend.release("orders", str(i))
        assert backend.try_acquire("orders", "1", 1.0) == Busy()
        assert len(backend._state.buried) == BURIED


def test_lock_over_files_says_where_they_are(tmp_path: Path) -> None:
    lock = ThreadDistributedLock("orders", FileBackend(tmp_path))
    assert repr(lock).endswith(f"'orders' at {tmp_path.as_uri()}>")


def test_server_of_the_tests_tells_who_has_a_lock() -> None:
    with FileServer() as server, FileBackend.from_url(server.url()) as backend:
        assert server.is_free("orders")
        granted(backend, "orders")
        assert not server.is_free("orders")
        server.steal("orders")
        assert server.is_free("orders")
        assert not backend.renew("orders", "a", 1.0)
        granted(backend, "orders", "b")
        assert backend.release("orders", "b")
        assert server.is_free("orders")
        with pytest.raises(NotImplementedError):
            server.commands()
