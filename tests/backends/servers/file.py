"""A "server" of files: a temporary directory, which nobody has to start."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from backofflock.backends.file import file_name

from .base import Server

__all__ = ["FileServer", "descriptors_in", "is_unlocked"]


def is_unlocked(path: Path) -> bool:
    """Ask the system whether nobody has a file locked; for a moment the asker has it."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def descriptors_in(directory: Path) -> int:
    """Return how many descriptors this process has of files in a directory."""
    stats = [path.stat() for path in directory.iterdir() if path.exists()]
    there = {(found.st_dev, found.st_ino) for found in stats}
    count = 0
    for fd in range(1024):
        try:
            found = os.fstat(fd)
        except OSError:
            continue
        count += (found.st_dev, found.st_ino) in there
    return count


class FileServer(Server):
    """One temporary directory. It cannot be stopped, and what is locked in it is not its data."""

    name = "file"
    port = 0

    def __init__(self) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="backofflock-"))
        self.directory = self._place / "locks and more"

    def start(self) -> None:
        """Do nothing: the first acquire makes the directory."""

    def stop(self) -> None:
        """Do nothing: files are there while their machine is."""

    def close(self) -> None:
        shutil.rmtree(self._place)

    def url(self, port: int | None = None) -> str:
        return self.directory.as_uri()

    def path(self, lock: str) -> Path:
        """Return the path of a lock's file."""
        return self.directory / file_name(lock)

    def is_free(self, lock: str) -> bool:
        return is_unlocked(self.path(lock))

    def steal(self, lock: str) -> None:
        self.path(lock).unlink()

    def commands(self) -> int:
        raise NotImplementedError("nobody counts what is asked of files")
