r"""Signals as calls on the event loop, which know whether the keyboard sent them.

The terminal sends what is typed (Ctrl-C, Ctrl-\, Ctrl-Z) to all processes of a group, the command
as well as us; what somebody sends to us with ``kill`` reaches us alone. Only the latter is to be
forwarded. A handler cannot tell the two apart, ``sigwaitinfo`` can: so the signals are blocked in
every thread, and one thread waits for them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Note", "Signals", "stop_myself"]

Note = Callable[[int, bool], None]
"""Is told the number of a signal, and whether the terminal has sent it to the whole group."""

_TYPED = {"SIGINT", "SIGQUIT", "SIGTSTP", "SIGBREAK"}

_names = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTSTP", "SIGCONT"]
FORWARDED = {int(getattr(signal, name)) for name in _names if hasattr(signal, name)}
"""The signals that a command gets when we do."""


if sys.platform == "win32":

    class Signals:
        """Ctrl-C and Ctrl-Break, which the console sends to the command as well."""

        def __init__(self, note: Note) -> None:
            self._note = note
            self._before: dict[int, Any] = {}

        def __enter__(self) -> Self:
            loop = asyncio.get_running_loop()

            def handle(number: int, _frame: FrameType | None) -> None:
                loop.call_soon_threadsafe(self._note, number, True)

            for number in (signal.SIGINT, signal.SIGBREAK):
                self._before[number] = signal.signal(number, handle)
            return self

        def __exit__(
            self,
            exc_type: type[BaseException] | None,
            exc_value: BaseException | None,
            traceback: TracebackType | None,
        ) -> None:
            for number, before in self._before.items():
                signal.signal(number, before)

        def unblock(self) -> None:
            """Do nothing: nothing is blocked."""

    def stop_myself() -> None:
        """Do nothing: there is no job control."""

else:

    class Signals:
        """Tells `note`, on the running loop, of each signal to forward, and of SIGCHLD.

        Signals that are ignored (``nohup``, a job in the background) stay so, for the command too.
        Use it in the main thread.
        """

        def __init__(self, note: Note) -> None:
            self._note = note
            self._heard: set[int] = {signal.SIGCHLD, signal.SIGCONT}
            self._before: dict[int, Any] = {}
            self._mask: set[Any] = set()
            self._leaving = False

        def __enter__(self) -> Self:
            self._loop = asyncio.get_running_loop()
            self._heard |= {n for n in FORWARDED if signal.getsignal(n) is not signal.SIG_IGN}
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._heard)
            for number in self._heard:
                # What is ignored by default would be dropped by some systems although it is
                # blocked; for the others a command that is just starting must find the default.
                quiet = number in (signal.SIGCHLD, signal.SIGCONT)
                before = signal.signal(number, _do_nothing if quiet else signal.SIG_DFL)
                self._before[number] = before
            self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
            self._thread.start()
            return self

        def __exit__(
            self,
            exc_type: type[BaseException] | None,
            exc_value: BaseException | None,
            traceback: TracebackType | None,
        ) -> None:
            self._leaving = True
            assert self._thread.ident is not None
            signal.pthread_kill(self._thread.ident, signal.SIGCONT)  # for this thread, to look
            self._thread.join()
            for number, before in self._before.items():
                signal.signal(number, before)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

        def unblock(self) -> None:
            """Block only what was blocked before: for the command, just before it is executed."""
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

        def _listen(self) -> None:
            while True:
                number, typed = _next_of(self._heard)
                if self._leaving:
                    return
                self._loop.call_soon_threadsafe(self._note, number, typed)

    def _do_nothing(_number: int, _frame: FrameType | None) -> None:
        pass

    def _next_of(numbers: set[int]) -> tuple[int, bool]:
        """Wait for one of these signals; return it, and whether it was typed."""
        if sys.platform == "darwin":  # it does not say who has sent it
            number = int(signal.sigwait(numbers))
            return number, signal.Signals(number).name in _TYPED and _in_foreground()
        info = signal.sigwaitinfo(numbers)
        return info.si_signo, signal.Signals(info.si_signo).name in _TYPED and info.si_code > 0

    def _in_foreground() -> bool:
        """Return whether what is typed at the terminal reaches this process."""
        try:
            terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        except OSError:
            return False
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        except OSError:
            return False
        finally:
            os.close(terminal)

    def stop_myself() -> None:
        """Stop as Ctrl-Z does, until somebody continues the job."""
        os.kill(os.getpid(), signal.SIGSTOP)
