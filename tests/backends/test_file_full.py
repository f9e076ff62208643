"""Risk: the disk is full, or the process has no descriptor left, and a lock is left taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from .file_scripts import run

pytestmark = pytest.mark.untraced  # its processes can write no file, coverage's neither

FULL = """
    def room(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    file = directory / "orders.lock"
    backend, other = FileBackend(directory), FileBackend(directory)
"""


@pytest.mark.parametrize(("room", "text"), [(0, "File too large"), (9, "No space left on device")])
@pytest.mark.parametrize("exists", [True, False])
def test_disk_without_room_leaves_nothing_locked(
    tmp_path: Path, room: int, text: str, exists: bool
) -> None:
    """The limit of a process stands in for the disk's; with 9 bytes left, 9 are written."""
    run(
        f"""{FULL}
    if {exists}:
        before = backend.try_acquire("orders", "first", 1.0)
        assert backend.release("orders", "first")
    room({room})
    for name in ("orders", "stock"):
        reason = refusal(backend, name, BackendUnavailable)
        assert {text!r} in reason, reason
        assert is_unlocked(directory / f"{{name}}.lock")
    assert descriptors_in(directory) == 0
    lock = ThreadDistributedLock("orders", other)
    try:
        lock.acquire(timeout=0.1)
    except AcquireTimeout as error:
        assert isinstance(error.__cause__, BackendUnavailable), error
    else:
        raise AssertionError("granted without a fence")
    assert lock.statistics().attempts == lock.statistics().unanswered > 1
    room(resource.RLIM_INFINITY)
    with lock as lease:
        assert not {exists} or lease.fence > before.fence
    """,
        tmp_path,
    )


def test_waiter_gets_through_when_there_is_room_again(tmp_path: Path) -> None:
    run(
        f"""{FULL}
    room(0)
    said = []
    lock = ThreadDistributedLock(
        "orders", backend, schedule=Constant(0.01), timeout=30, on_wait=said.append
    )
    waiter = threading.Thread(target=lock.acquire)
    waiter.start()
    while len(said) < 3:
        pass
    room(resource.RLIM_INFINITY)
    waiter.join()
    assert lock.locked()
    lock.release()
    """,
        tmp_path,
    )


def test_holder_renews_and_releases_on_a_full_disk(tmp_path: Path) -> None:
    run(
        f"""{FULL}
    backend.try_acquire("orders", "a", 1.0)
    room(0)
    assert backend.renew("orders", "a", 1.0)
    assert backend.release("orders", "a")
    """,
        tmp_path,
    )


def test_process_without_descriptors_asks_again(tmp_path: Path) -> None:
    run(
        """
        backend = FileBackend(directory)
        assert backend.try_acquire("first", "a", 1.0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        reason = refusal(backend, kind=BackendUnavailable)
        assert "Too many open files" in reason, reason
        assert backend.renew("first", "a", 1.0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for i in range(5):
            assert backend.try_acquire(f"stock {i}", f"{i}", 1.0).fence
            assert backend.release(f"stock {i}", f"{i}")
        assert descriptors_in(directory) == 6
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        refusal(backend, kind=BackendUnavailable)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert descriptors_in(directory) == 1, "it keeps what it does not need"
        assert backend.try_acquire("orders", "b", 1.0).fence
        """,
        tmp_path,
    )
