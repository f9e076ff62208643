"""The file of a lock, for the file backend: made, opened, locked, counted in and closed.

And what differs between systems: how a file is locked, and how one tells where it is.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from io import FileIO
from os import lstat
from time import time_ns
from types import MappingProxyType

__all__ = ["LINE", "LONGEST_TEXT", "NETWORKS", "ROUNDS", "LockFile", "describe", "is_hopeless"]
__all__ += ["mounted_as", "shared_by_machines"]

ROUNDS = 16
"""How often one call opens a file that is gone, or another, by the time it is locked."""

LINE = 32
"""Bytes of the line in a lock's file: the fence, the process id, and blanks."""

LONGEST_TEXT = 64
"""A file that has more bytes is none of a lock: it is left alone."""

_FLAGS = (
    os.O_RDWR
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)
"""How it is opened: no link is followed, and no pipe in its place is waited for."""

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    # Nobody else can read a byte that is locked there: so it is one far behind the text.
    _FAR = 1 << 30

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, _FAR, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

    def _read(fd: int, length: int) -> bytes:
        os.lseek(fd, 0, os.SEEK_SET)
        return os.read(fd, length)

    def _write(fd: int, data: bytes) -> int:
        os.lseek(fd, 0, os.SEEK_SET)
        return os.write(fd, data)

    def _share(fd: int, directory: str) -> None:
        """Leave it to the directory's access control list who may use a new file."""

else:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

    def _try_lock(fd: int) -> bool:
        try:
            flock(fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        flock(fd, LOCK_UN)

    def _read(fd: int, length: int) -> bytes:
        return os.pread(fd, length, 0)

    def _write(fd: int, data: bytes) -> int:
        return os.pwrite(fd, data, 0)

    def _share(fd: int, directory: str) -> None:
        """Let those use a new file who may make files in the directory, and nobody else.

        A umask would not do: with the usual one other users of a shared directory could not write
        the file, and users who have nothing to do with it could lock it, as reading is enough.
        """
        about = os.stat(directory)
        mode = 0o600 | (about.st_mode & 0o022) * 3  # who may write may read as well
        try:
            if os.fstat(fd).st_gid != about.st_gid:
                os.fchown(fd, -1, about.st_gid)
        except PermissionError:
            mode &= ~0o060  # its group is another than the directory's
        try:
            os.fchmod(fd, mode)
        except PermissionError:
            pass  # a file system without modes


class LockFile:
    """A lock's file, and the token that it is asked for; and the fence of its grant, if it is held.

    It may stay open while nobody has the lock: that saves the next one a quarter of the time. What
    fails raises OSError, see `describe`.
    """

    __slots__ = ("_fd", "_file", "_identity", "fence", "path", "token")

    def __init__(self, path: str) -> None:
        self.path = path
        self.token = ""
        self.fence = 0
        # An object in C that closes its descriptor: an interrupt may make everybody forget this
        # lock, and then it must not stay locked. A __del__ in Python would swallow interrupts.
        self._file: FileIO | None = None
        self._fd = -1
        self._identity = (0, 0)

    def acquire(self, pid: int) -> bool:
        """Lock it, opened or made if need be, with a new fence; return False if another has."""
        for _ in range(ROUNDS):
            if self._file is None and not self._open():
                continue
            is_locked = _try_lock(self._fd)
            if self.is_in_place():
                if is_locked:
                    self.fence = self._count(pid)
                return is_locked
            self.let_go()  # somebody deleted it, or put another there, since it was opened
        raise OSError(errno.ESTALE, f"Deleted or replaced {ROUNDS} times meanwhile", self.path)

    def is_in_place(self) -> bool:
        """Return whether the file is still the one that others find."""
        try:
            found = lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def unlock(self) -> None:
        """Unlock it, and leave it open."""
        # To close it would not do: a child that was forked behind our back may have it open too.
        self.fence = 0
        _unlock(self._fd)

    def let_go(self) -> None:
        """Unlock and close it."""
        self.fence = 0
        try:
            if self._file is not None:
                _unlock(self._fd)
        finally:
            self.close()

    def close(self) -> None:
        """Close it; it stays locked if the process that this one was forked from has it."""
        file, self._file = self._file, None
        self._fd = -1
        if file is not None:
            file.close()

    def _open(self) -> bool:
        """Open it; return False if it had to be made, and may be there now."""
        try:
            file = FileIO(os.open(self.path, _FLAGS), "r+")
        except FileNotFoundError:
            _make(self.path)
            return False
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            file.close()
            raise OSError(errno.ENXIO, "No regular file", self.path)
        self._identity = about.st_dev, about.st_ino
        self._fd = file.fileno()
        self._file = file  # last, as an interrupt may come anywhere: what is open is whole
        return True

    def _count(self, pid: int) -> int:
        """Write a new fence into the locked file, and return it."""
        text = _read(self._fd, LONGEST_TEXT + 1)
        if len(text) > LONGEST_TEXT:
            raise OSError(errno.ENXIO, "Not the file of a lock, and left alone", self.path)
        last = text.partition(b" ")[0]
        fence = time_ns() // 1000
        # 18 digits last for thirty thousand years of microseconds: more, or others, are damage.
        if last.isdigit() and len(last) <= 18:
            fence = max(fence, int(last) + 1)
        if _write(self._fd, b"%-18d %-12d\n" % (fence, pid)) != LINE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
        return fence


def _make(path: str) -> None:
    """Make a lock's file unless another is quicker, and its directory if need be."""
    directory = os.path.dirname(path)
    os.makedirs(directory, exist_ok=True)
    try:
        # Only where there is none: in directories that all may write, Linux lets nobody open the
        # files of others with O_CREAT.
        fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    try:
        _share(fd, directory)
    finally:
        os.close(fd)


# -- where it is -----------------------------------------------------------------------------------

NETWORKS = frozenset(
    [
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fakeowner", "gfs", "gfs2"),
        *("gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs"),
        *("pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"),
    ]
)
"""File systems that machines share: to some of them a lock of one is none to another."""

LOCAL_FUSE = frozenset(["fuse.bindfs", "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.mergerfs"])
"""Of those made by programs (``fuse.…``) the ones that are of this machine."""


def shared_by_machines(kind: str) -> bool:
    """Return whether machines share file systems of a type."""
    return kind in NETWORKS or (kind.startswith("fuse.") and kind not in LOCAL_FUSE)


def mounted_as(directory: str) -> str:
    """Return the type of the file system that a directory is on, or "" where nobody can tell."""
    device = os.stat(directory).st_dev
    try:
        number = f"{os.major(device)}:{os.minor(device)}"
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for mount in mounts:
                # number, number of the parent, device, and after " - " the type
                if mount.split(" ", 3)[2] == number:
                    return mount.partition(" - ")[2].split(" ", 1)[0]
    except (OSError, AttributeError, IndexError):
        pass  # no Linux, or no /proc, or none that we know
    return ""


# -- what goes wrong -------------------------------------------------------------------------------

_NO_LOCKS = "its file system has no locks; choose a directory on another"
_ELSEWHERE = "remove it, or choose another directory"
_HINTS = MappingProxyType(
    {
        errno.ELOOP: "it is a symbolic link, which is not followed; remove it",
        errno.EISDIR: f"a directory is in the place of the lock's file; {_ELSEWHERE}",
        errno.ENXIO: _ELSEWHERE,
        errno.ENODEV: _ELSEWHERE,
        errno.ENOTDIR: f"a part of the path is no directory; {_ELSEWHERE}",
        errno.EEXIST: f"it is no directory; {_ELSEWHERE}",
        errno.EROFS: "choose a directory on a file system that can be written",
        errno.EACCES: "the user of this process may not; see who may write the directory",
        errno.EPERM: "the user of this process may not; see who may write the directory",
        errno.ENAMETOOLONG: "choose a directory with a shorter path",
        errno.ENOLCK: _NO_LOCKS,
        errno.ENOSYS: _NO_LOCKS,
        errno.ENOTSUP: _NO_LOCKS,
    }
)
"""What to do where asking again is of no use."""


def is_hopeless(error: OSError, path: str) -> bool:
    """Return whether asking again is of no use before somebody has changed something."""
    return error.errno in _HINTS and not (error.errno == errno.EACCES and _is_just_made(path))


def _is_just_made(path: str) -> bool:
    """Return whether another user has yet to let others in, and to write its first line."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and not found.st_size


def describe(error: OSError, path: str) -> str:
    """Return what went wrong, where, and what can be done about it."""
    where = path if error.filename is None else os.fsdecode(error.filename)
    text = f"{error.strerror or error}: {where!r}"
    hint = _HINTS.get(error.errno or 0)
    return text if hint is None else f"{text}; {hint}"
