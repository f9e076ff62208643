"""The command as a process: how it is started, what it is sent, and how it ends."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio

__all__ = ["Child", "NotRunnable", "refuse_to_look_for"]


class NotRunnable(Exception):
    """The command cannot be started. Attributes: `status`, what a shell would exit with."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status

    @classmethod
    def missing(cls, program: str) -> NotRunnable:
        """Return the error for a program that is not there."""
        return cls(f"cannot run {program!r}: there is no such command", 127)


def refuse_to_look_for(program: str) -> None:
    """Raise `NotRunnable` for a program that would not be found, before anybody waits for it."""
    if shutil.which(program) is not None:
        return
    if os.path.dirname(program):
        try:
            os.stat(program)
        except (FileNotFoundError, NotADirectoryError):
            raise NotRunnable.missing(program) from None
        except OSError as error:  # the way to it may not be gone, say
            raise NotRunnable(f"cannot run {program!r}: {error.strerror}", 126) from None
    elif not any(os.path.exists(os.path.join(folder, program)) for folder in os.get_exec_path()):
        raise NotRunnable.missing(program)
    raise NotRunnable(f"cannot run {program!r}: it is not an executable file", 126)


def _load_prctl() -> Any:
    if sys.platform != "linux":
        return None
    import ctypes

    try:
        return ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None


_PR_SET_PDEATHSIG = 1


class Child:
    """A command that runs.

    On Linux it gets SIGTERM if this process dies without having ended it: nobody renews its lease
    any more. It may get it several times, as this process dies thread by thread and the system
    hands the command from one to the next. Whoever has `Signals` may tell `look` of SIGCHLD.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        unblock: Callable[[], None],
    ) -> None:
        self._ended = anyio.Event()
        self._process = _started(command, environment, unblock)
        self._watcher = threading.Thread(target=self._watch, name="command", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._watcher.start()

    def look(self) -> None:
        """See whether it has ended."""
        if self._process.poll() is not None:
            self._watcher.join()  # it sees the same
            self._ended.set()

    async def wait(self) -> int:
        """Wait until it ends; return its status, as shells do: 128 + n if signal n ended it."""
        await self._ended.wait()
        return self.status

    @property
    def status(self) -> int:
        """Its status once it has ended."""
        code = self._process.returncode
        return 128 - code if code < 0 else code

    def send(self, number: int, typed: bool) -> None:
        """Forward a signal, unless the terminal has sent it to the command as well."""
        if not (typed and self._is_of_our_group()):
            self._process.send_signal(number)

    async def end(self, grace: float) -> bool:
        """Ask it to end, and after `grace` seconds kill it; return whether it ended by itself."""
        self._process.terminate()
        if sys.platform != "win32":
            self._process.send_signal(signal.SIGCONT)  # one that is stopped hears nothing
        with anyio.move_on_after(grace):
            await self._ended.wait()
            return True
        self._process.kill()
        await self._ended.wait()
        return False

    def _is_of_our_group(self) -> bool:
        if sys.platform == "win32":
            return True
        try:
            # It is not reaped before `look`, so the number is still its own.
            return os.getpgid(self._process.pid) == os.getpgrp()
        except ProcessLookupError:
            return True

    def _watch(self) -> None:
        """Wait for its end in a thread: SIGCHLD may go to one that does not listen for it."""
        if sys.platform == "win32":
            self._process.wait()
        elif hasattr(os, "waitid"):
            with suppress(ChildProcessError):  # SIGCHLD was quicker, and `look` has reaped it
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:
            return
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self.look)


def _started(
    command: Sequence[str], environment: Mapping[str, str], unblock: Callable[[], None]
) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    prctl = _load_prctl()

    def before_it_is_executed() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            if os.getppid() != parent:  # it has died meanwhile
                os._exit(128 + signal.SIGTERM)
        unblock()

    try:
        return subprocess.Popen(
            command,
            env=environment,
            close_fds=False,  # ours are not inherited anyway, those that we inherited are its own
            preexec_fn=None if sys.platform == "win32" else before_it_is_executed,
        )
    except FileNotFoundError:
        if shutil.which(command[0]) is None:
            raise NotRunnable.missing(command[0]) from None
        reason = "what is to run it, by its first line say, is not there"
        raise NotRunnable(f"cannot run {command[0]!r}: {reason}", 127) from None
    except OSError as error:
        reason = "it is no program, and has no line with #!" if error.errno == errno.ENOEXEC else ""
        raise NotRunnable(f"cannot run {command[0]!r}: {reason or error.strerror}", 126) from error
