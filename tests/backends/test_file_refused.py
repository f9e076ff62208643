"""Risk: the disk says no, and a lock is left taken, or somebody else's file is written."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backofflock import BackendRefused, Grant, ThreadDistributedLock
from backofflock.backends import _flock
from backofflock.backends.file import FileBackend

from .file_scripts import run
from .servers.file import descriptors_in, is_unlocked

pytestmark = pytest.mark.untraced  # its processes are of users who may not write coverage's file

NAME = "orders"
FILE = f"{NAME}.lock"


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """Give a directory that other users can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="backofflock-") as place:
        Path(place).chmod(0o755)
        yield Path(place)


# -- something else in the place of the file -------------------------------------------------------


def symlink(path: Path) -> None:
    (path.parent / "victim").touch()
    path.symlink_to("victim")


def dangling_symlink(path: Path) -> None:
    path.symlink_to("victim")


def directory(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    # Its path may have some 100 bytes, and pytest's are long.
    here = os.open(path.parent, os.O_RDONLY)
    before = os.open(".", os.O_RDONLY)
    try:
        os.fchdir(here)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(before)
        os.close(before)
        os.close(here)


OBSTACLES = [
    (symlink, "it is a symbolic link, which is not followed; remove it"),
    (dangling_symlink, "it is a symbolic link, which is not followed; remove it"),
    (directory, "a directory is in the place of the lock's file; remove it"),
    (pipe, "No regular file: .*; remove it, or choose another directory"),
    (unix_socket, "; remove it, or choose another directory"),
]


@pytest.mark.parametrize(("obstacle", "advice"), OBSTACLES)
def test_what_is_in_the_place_of_the_file(
    tmp_path: Path, obstacle: Callable[[Path], None], advice: str
) -> None:
    obstacle(tmp_path / FILE)
    there = sorted(tmp_path.iterdir())
    with FileBackend(tmp_path) as backend:
        lock = ThreadDistributedLock(NAME, backend, timeout=20.0)
        with pytest.raises(BackendRefused, match=advice) as caught:
            lock.acquire()
        assert lock.statistics().attempts == 1, "asking again is of no use"
        assert caught.value.backend == tmp_path.as_uri()
        assert repr(str(tmp_path / FILE)) in str(caught.value)
        assert sorted(tmp_path.iterdir()) == there, "nothing was made, and nothing removed"
        assert descriptors_in(tmp_path) == 0
        if (tmp_path / "victim").exists():
            assert not (tmp_path / "victim").read_bytes(), "the link was followed"
        if (tmp_path / FILE).is_dir() and not (tmp_path / FILE).is_symlink():
            (tmp_path / FILE).rmdir()
        else:
            (tmp_path / FILE).unlink()
        with lock:
            assert not is_unlocked(tmp_path / FILE)


@pytest.mark.parametrize("below", ["", "a", "a/b"])
def test_file_in_the_place_of_the_directory(tmp_path: Path, below: str) -> None:
    (tmp_path / "locks").write_text("mine")
    with FileBackend(tmp_path / "locks" / below) as backend:
        with pytest.raises(BackendRefused, match="is no directory; remove it, or choose another"):
            backend.try_acquire(NAME, "a", 1.0)
        assert (tmp_path / "locks").read_text() == "mine"
        (tmp_path / "locks").unlink()
        assert isinstance(backend.try_acquire(NAME, "b", 1.0), Grant)


def test_path_that_is_too_long(tmp_path: Path) -> None:
    backend = FileBackend(tmp_path / ("x" * 300))
    with pytest.raises(BackendRefused, match="choose a directory with a shorter path"):
        backend.try_acquire(NAME, "a", 1.0)


# -- who may what ----------------------------------------------------------------------------------


def test_directory_that_may_not_be_written(everybodys: Path) -> None:
    everybodys.chmod(0o555)
    run(
        """
        become_nobody()
        backend = FileBackend(directory)
        reason = refusal(backend)
        assert "Permission denied" in reason and "see who may write the directory" in reason, reason
        reason = refusal(FileBackend(directory / "locks"))
        assert "see who may write the directory" in reason, reason
        """,
        everybodys,
    )
    everybodys.chmod(0o777)
    run("become_nobody(); FileBackend(directory).try_acquire('orders', 'a', 1.0).fence", everybodys)


def test_directory_that_may_not_be_entered(everybodys: Path) -> None:
    place = everybodys / "locks"
    place.mkdir()
    (place / FILE).write_text("1 1\n")
    place.chmod(0)
    script = """
        become_nobody()
        assert "see who may write the directory" in refusal(FileBackend(directory))
    """
    run(script, place)
    place.chmod(0o755)


def test_file_that_may_not_be_written(everybodys: Path) -> None:
    (everybodys / FILE).write_text("1 1\n")
    (everybodys / FILE).chmod(0o444)
    everybodys.chmod(0o1777)
    script = """
        become_nobody()
        backend = FileBackend(directory)
        assert "see who may write the directory" in refusal(backend)
        assert backend.try_acquire("another", "b", 1.0).fence
    """
    run(script, everybodys)


def test_file_that_another_user_is_just_making_is_asked_for_again(everybodys: Path) -> None:
    """Before its first line is written it may be the others' in a moment."""
    (everybodys / FILE).touch()
    (everybodys / FILE).chmod(0o400)
    everybodys.chmod(0o1777)
    script = """
        become_nobody()
        assert "Permission denied" in refusal(FileBackend(directory), kind=BackendUnavailable)
    """
    run(script, everybodys)


def test_users_share_a_directory(everybodys: Path) -> None:
    """Root makes the file, and another user has the lock next, and root again."""
    everybodys.chmod(0o1777)
    script = """
        os.umask(0o077)
        backend, fence = FileBackend(directory), 0
        if os.geteuid() == 0:
            fence = backend.try_acquire("orders", "a", 1.0).fence
            assert backend.release("orders", "a")
        become_nobody()
        for name in ("orders", "stock"):
            assert backend.try_acquire(name, name, 1.0).fence > fence
            assert backend.release(name, name)
            assert stat.S_IMODE((directory / f"{name}.lock").stat().st_mode) & 0o606 == 0o606
    """
    run(script, everybodys)
    with FileBackend(everybodys) as backend:
        for name in (NAME, "stock"):
            assert isinstance(backend.try_acquire(name, name, 1.0), Grant)


def test_group_of_another_is_given_nothing(everybodys: Path) -> None:
    """A user who may not give a new file to the directory's group keeps it from his own."""
    everybodys.chmod(0o777)
    script = """
        become_nobody()
        if os.getgid() == directory.stat().st_gid:
            sys.exit()  # not root, so there is no group here that one is not in
        assert FileBackend(directory).try_acquire("orders", "a", 1.0).fence
        assert stat.S_IMODE((directory / "orders.lock").stat().st_mode) == 0o606
    """
    run(script, everybodys)


# -- file systems that machines share --------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is mounted where")
def test_the_type_of_a_mount_is_known(everybodys: Path) -> None:
    assert _flock.mounted_as("/proc") == _flock.mounted_as("/proc/self") == "proc"
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    assert _flock.mounted_as(str(everybodys)) in {mount.split()[2] for mount in mounts}
    everybodys.chmod(0o333)  # it need not be readable
    script = """
        become_nobody()
        assert FileBackend(directory).try_acquire("orders", "a", 1.0).fence
        from backofflock.backends._flock import mounted_as
        assert mounted_as(str(directory))
    """
    run(script, everybodys)
    everybodys.chmod(0o755)


@pytest.mark.parametrize(
    ("kind", "is_shared"),
    [
        *(("nfs4", True), ("cifs", True), ("smb3", True), ("9p", True), ("virtiofs", True)),
        *(("fuse.sshfs", True), ("fuse.s3fs", True), ("fuse.fuse-overlayfs", False)),
        *(("ext4", False), ("tmpfs", False), ("overlay", False), ("fuseblk", False), ("", False)),
    ],
)
def test_which_machines_share(kind: str, is_shared: bool) -> None:
    assert _flock.shared_by_machines(kind) == is_shared


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is mounted where")
def test_directory_that_machines_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = _flock.mounted_as(str(tmp_path))
    monkeypatch.setattr(_flock, "NETWORKS", frozenset([kind]))  # as if it were one
    for backend in (FileBackend(tmp_path), FileBackend(tmp_path / "locks")):
        for token in ("a", "b"):
            with pytest.raises(BackendRefused, match=f"of type {kind}, .* say network=True"):
                backend.try_acquire(NAME, token, 1.0)
            assert not backend.release(NAME, token)
    assert not list(tmp_path.glob("**/*.lock"))
    with FileBackend(tmp_path, network=True) as backend:
        assert isinstance(backend.try_acquire(NAME, "a", 1.0), Grant)
