"""Locks in files, for the processes of one machine: nothing to install and nothing to run.

A lock is one file of a directory, locked with `flock` while somebody has the lock, and written once
for each grant: its fence, and the process that got it. The system unlocks it when the holder dies.
So a grant has no end of its own, and to renew it is to look whether the file is still there.

The file is never deleted. Whoever deleted it might delete the one that another has just locked,
after which a third makes a new one and locks that. Where others delete it nevertheless, or put
another in its place, the holder finds at its next renewal that the lock is lost, and those who wait
open the new one.

`_flock.py` has the file of one lock, `_file_state.py` those that one process has, and forks.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from ..errors import BackendRefused, BackendUnavailable
from ..leases import Busy, Grant
from ._closing import Closing
from ._file_state import InEachProcess, State
from ._flock import LockFile, describe, is_hopeless, mounted_as, shared_by_machines

__all__ = ["FileBackend", "file_name"]

LONGEST_NAME = 200
"""Letters of a file's name before the names of locks are shortened; systems end at 255."""

FOLDS_CASE = sys.platform in ("win32", "cygwin", "darwin")
"""Whether file systems usually take small and capital letters for the same."""

_BUSY = Busy()
_SWITCH = MappingProxyType({"1": True, "true": True, "0": False, "false": False})


class FileBackend(InEachProcess, Closing):
    """Locks for the processes of one machine, in files of a directory.

    The directory is made by the first acquire if need be. Each lock has a file there, named after
    it, which is never deleted; the latest 32 are kept open for the next time. ``str()`` gives the
    URL.

    Promised: one holder at a time among all processes that see the same directory, also from
    containers; a holder that dies, however, frees the lock at once; a fence that grows with every
    grant. A holder that is stopped keeps the lock: there is no ttl to outlive. Not promised: an
    order among those who wait; the lock, if somebody deletes or replaces its file, which the holder
    finds at its next renewal; a fence that grows if the file is deleted *and* the clock set back.

    A forked child holds nothing, and keeps nothing locked. Any thread may call, and no call waits
    for more than the disk. `close` frees all that is held, and closes the files.

    Arguments:
    - `directory`: where the files are; a relative one is relative to the present directory.
    - `network`: True to use a file system that machines share, such as NFS. Without it that raises
      `BackendRefused`, as far as Linux can tell: there a lock may be none to other machines.
    """

    blocking: Final = False
    """No call waits for a network or another process: tasks make them as they are."""

    def __init__(self, directory: str | os.PathLike[str], *, network: bool = False) -> None:
        directory = os.fspath(directory)
        if not isinstance(directory, str):
            raise TypeError(f"directory must be a str or Path, not {directory!r}")
        if not directory or "\0" in directory:
            raise ValueError(f"directory must be the path of one, not {directory!r}")
        if not isinstance(network, bool):
            raise TypeError(f"network must be True or False, not {network!r}")
        self._directory = os.path.abspath(directory)
        self._url = Path(self._directory).as_uri()
        self._network = network
        self._is_fit = False
        super().__init__()

    @classmethod
    def from_url(cls, url: str, *, network: bool | None = None) -> Self:
        """Return the backend of ``file:///directory``, or ``file:///directory?network=1``.

        As in all URLs a blank is ``%20`` and so on: ``Path.as_uri()`` writes it. Raises ValueError
        for one that names a host, or anything else that has no meaning here.
        """
        parts = urlsplit(url)
        if parts.scheme.lower() != "file":
            raise ValueError(f"the URL of a directory begins with file://, not {parts.scheme}:")
        if parts.netloc.lower() not in ("", "localhost"):
            raise ValueError(
                f"files are of this machine, but the URL names the host {parts.hostname!r}: an "
                "absolute path has three slashes, as in file:///var/lock/jobs"
            )
        if parts.fragment:
            raise ValueError("a # in a path must be written as %23 in its URL")
        path = os.fsdecode(unquote_to_bytes(parts.path))
        if os.name == "nt" and path[2:3] == ":":
            path = path.lstrip("/")  # /C:/locks
        if not os.path.isabs(path):
            raise ValueError(
                f"the URL must have an absolute path, as in file:///var/lock/jobs, not {path!r}"
            )
        for option, value in parse_qsl(parts.query, keep_blank_values=True):
            if option != "network" or value not in _SWITCH:
                raise ValueError(
                    "the URL of a directory may end in ?network=1 or ?network=0, not in "
                    f"{option}={value} (a ? in a path must be written as %3F)"
                )
            if network is None:
                network = _SWITCH[value]
        return cls(path, network=False if network is None else network)

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Give the lock to `token` unless another has it; until its release, whatever `ttl` is."""
        state = self._own_state()
        with state.mutex:
            file = state.files.get(name)
            if file is None:
                if token in state.buried:
                    return _BUSY
                file = self._file(state, name, token)
            if file.token != token:
                return _BUSY
            granted = None
            try:
                if file.fence and not file.is_in_place():
                    file.let_go()
                granted = file.fence > 0 or file.acquire(state.pid)
                return Grant(file.fence) if granted else _BUSY
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    state.close_unused()  # for the next time
                raise self._translated("try_acquire", error, file.path) from error
            finally:
                if not granted:
                    state.files.pop(name, None)
                    if granted is None:
                        state.drop(file)
                    else:
                        state.keep(name, file)

    def renew(self, name: str, token: str, ttl: float) -> bool:
        """Return whether `token` still has the lock: it does while its file is in place."""
        state = self._own_state()
        with state.mutex:
            file = state.files.get(name)
            if file is None or file.token != token or not file.fence:
                return False
            try:
                if file.is_in_place():
                    return True
            except OSError as error:
                raise self._translated("renew", error, file.path) from error
            del state.files[name]
            state.drop(file)
            return False

    def release(self, name: str, token: str) -> bool:
        """Take the lock from `token`, for good; return whether it had it to the end."""
        state = self._own_state()
        with state.mutex:
            state.bury(token)
            file = state.files.get(name)
            if file is None or file.token != token:
                return False
            del state.files[name]
            had_it = False
            try:
                had_it = file.fence > 0 and file.is_in_place()
                if had_it:
                    file.unlock()
                    state.keep(name, file)
                return had_it
            except OSError as error:
                had_it = False
                raise self._translated("release", error, file.path) from error
            finally:
                if not had_it:
                    state.drop(file)

    def close(self) -> None:
        """Free all that this process holds. What is asked for later is granted as ever."""
        state = self._own_state()
        with state.mutex:
            while state.files:
                state.drop(state.files.popitem()[1])
            state.close_unused()

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        network = ", network=True" if self._network else ""
        return f"{type(self).__name__}({self._directory!r}{network})"

    def _file(self, state: State, name: str, token: str) -> LockFile:
        """Return the file of a lock, known as the one that is asked for, by `token` or another."""
        file = state.unused.pop(name, None)
        if file is None:
            if not self._is_fit:
                self._look_at_directory()
            file = LockFile(f"{self._directory}{os.sep}{file_name(name)}")
        file.token = token
        # Before it is locked: an interrupt must not leave locked what no release can find.
        known = state.files.setdefault(name, file)
        if known is not file:
            state.drop(file)  # a signal handler or finalizer was here meanwhile
        return known

    def _look_at_directory(self) -> None:
        """Make the directory if need be, and refuse one that machines share."""
        try:
            os.makedirs(self._directory, exist_ok=True)
            kind = "" if self._network else mounted_as(self._directory)
        except OSError as error:
            raise self._translated("try_acquire", error, self._directory) from error
        if shared_by_machines(kind):
            raise BackendRefused(
                self._url,
                "try_acquire",
                f"{self._directory!r} is on a file system of type {kind}, which machines may share "
                "though they do not see each other's locks; choose a directory on a local disk, or "
                "say network=True if it is of this machine alone, or its locks reach all",
            )
        self._is_fit = True

    def _translated(
        self, call: str, error: OSError, path: str
    ) -> BackendRefused | BackendUnavailable:
        kind = BackendRefused if is_hopeless(error, path) else BackendUnavailable
        return kind(self._url, call, describe(error, path))


@lru_cache(maxsize=1024)
def file_name(name: str, folds_case: bool = FOLDS_CASE) -> str:
    """Return the name of a lock's file: another for each name, and none that leads elsewhere.

    >>> file_name("orders:42", folds_case=False), file_name("../Orders", folds_case=True)
    ('orders%3A42.lock', '..%2F%4Frders.lock')
    """
    plain = "abcdefghijklmnopqrstuvwxyz0123456789._-"
    if not folds_case:
        plain += plain[:26].upper()
    data = name.encode("utf-8", "surrogatepass")
    text = "".join(chr(byte) if chr(byte) in plain else f"%{byte:02X}" for byte in data)
    if len(text) > LONGEST_NAME:
        # "=" is in no name that is not shortened.
        text = f"{text[:100]}={hashlib.sha256(data).hexdigest()}"
    return f"{text}.lock"
