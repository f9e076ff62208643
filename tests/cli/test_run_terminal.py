"""``backofflock run`` at a terminal: what is typed reaches the command once."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from .running import LIMIT, Run, environment, eventually, is_free, linux_only, python

if sys.platform == "win32":
    pytest.skip("Windows has no such terminals", allow_module_level=True)

SHELL = """
import fcntl, os, signal, sys, termios

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
quiet = termios.tcgetattr(0)
quiet[3] &= ~termios.ECHO
quiet[3] |= termios.NOFLSH  # or else Ctrl-C throws away what was just printed
termios.tcsetattr(0, termios.TCSANOW, quiet)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, setpgroup=0)
os.tcsetpgrp(0, job)
while True:
    _, status = os.waitpid(job, os.WUNTRACED if sys.argv[1] == "minds stops" else 0)
    os.tcsetpgrp(0, os.getpgrp())
    if not os.WIFSTOPPED(status):
        break
    print("the job is stopped", flush=True)
    input()
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
print("its status is", os.waitstatus_to_exitcode(status), flush=True)
"""
"""What a shell does for a job in the foreground: a line continues one that was stopped."""

COUNTING = """
import os, signal, sys, time
{first}
counts = {{signal.SIGINT: 0, signal.SIGQUIT: 0}}
def count(number, frame):
    counts[number] += 1
def tell(number, frame):
    print("counted", *counts.values(), flush=True)
for number in counts:
    signal.signal(number, count)
signal.signal(signal.SIGUSR1, tell)
signal.signal(signal.SIGTERM, lambda number, frame: os._exit(7))
print("these are", os.getppid(), os.getpid(), flush=True)
while True:
    time.sleep(0.02)  # not pause: it would miss one that comes just before
"""
"""Prints its parent and itself, then how often it got SIGINT and SIGQUIT whenever it is asked."""


class Terminal:
    """A terminal, and a shell that runs one ``backofflock run`` in its foreground."""

    def __init__(
        self, where: Path, *arguments: str, command: list[str], minds_stops: bool = True
    ) -> None:
        self._master, slave = os.openpty()
        run = [sys.executable, "-m", "backofflock", "run", "--backend", where.as_uri(), *arguments]
        self._shell = subprocess.Popen(
            [*python(SHELL), "minds stops" if minds_stops else "", *run, "job", "--", *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(),
            start_new_session=True,
        )
        os.close(slave)
        self._text = ""

    def enter(self, text: str) -> None:
        os.write(self._master, text.encode())

    def shows(self, pattern: str) -> re.Match[str]:
        """Wait until it shows that; the next search begins behind it."""
        while (found := re.search(pattern, self._text)) is None:
            ready, _, _ = select.select([self._master], [], [], LIMIT)
            assert ready, f"it does not show {pattern!r}, but {self._text!r}"
            try:
                self._text += os.read(self._master, 4096).decode()
            except OSError:  # all have left it
                raise AssertionError(f"{pattern!r} is not in {self._text!r}") from None
        self._text = self._text[found.end() :]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._master)  # hangs up: who is left in its session gets SIGHUP
        self._shell.kill()
        self._shell.wait()


def counted(terminal: Terminal, by: int) -> tuple[int, int]:
    """Return how often the command got SIGINT and SIGQUIT, asked through process `by`.

    Of two signals that are there at once the smaller comes first. So what was sent to `by` before
    has been dealt with once this one, which is larger, is through.
    """
    os.kill(by, signal.SIGUSR1)
    found = terminal.shows(r"counted (\d+) (\d+)\r\n")
    return int(found[1]), int(found[2])


TYPED = pytest.mark.parametrize(
    ("typed", "counts"), [("\x03", (1, 0)), ("\x1c", (0, 1))], ids=["Ctrl-C", "Ctrl-\\"]
)


@linux_only
@TYPED
def test_what_is_typed_reaches_the_command_once(
    tmp_path: Path, typed: str, counts: tuple[int, int]
) -> None:
    command = python(COUNTING.format(first=""))
    with Terminal(tmp_path, command=command, minds_stops=False) as terminal:
        these = terminal.shows(r"these are (\d+) (\d+)\r\n")
        run, its_command = int(these[1]), int(these[2])
        # Two that come at once would count as one: so ours is not to come before it has counted.
        os.kill(run, signal.SIGSTOP)
        eventually(lambda: state_of(run) == "T")
        terminal.enter(typed)
        eventually(lambda: counted(terminal, its_command) == counts)
        os.kill(run, signal.SIGCONT)
        assert counted(terminal, run) == counts
        os.kill(run, signal.SIGTERM)
        terminal.shows("its status is 7\r\n")
    assert is_free(tmp_path)


@TYPED
def test_what_is_typed_reaches_a_command_in_a_group_of_its_own_too(
    tmp_path: Path, typed: str, counts: tuple[int, int]
) -> None:
    with Terminal(tmp_path, command=python(COUNTING.format(first="os.setpgid(0, 0)"))) as terminal:
        these = terminal.shows(r"these are (\d+) (\d+)\r\n")
        run, its_command = int(these[1]), int(these[2])
        terminal.enter(typed)
        eventually(lambda: counted(terminal, its_command) == counts)
        assert counted(terminal, run) == counts
        os.kill(run, signal.SIGTERM)
        terminal.shows("its status is 7\r\n")
    assert is_free(tmp_path)


@linux_only
def test_what_is_sent_to_us_alone_reaches_the_command_too(tmp_path: Path) -> None:
    with Terminal(tmp_path, command=python(COUNTING.format(first=""))) as terminal:
        these = terminal.shows(r"these are (\d+) (\d+)\r\n")
        run = int(these[1])
        os.kill(run, signal.SIGINT)
        assert counted(terminal, run) == (1, 0)
        os.kill(run, signal.SIGTERM)
        terminal.shows("its status is 7\r\n")


def test_ctrl_c_ends_a_command_that_does_not_mind(tmp_path: Path) -> None:
    with Terminal(tmp_path, command=["sh", "-c", "echo in; exec sleep 600"]) as terminal:
        terminal.shows("in\r\n")
        terminal.enter("\x03")
        terminal.shows("its status is 130\r\n")
    assert is_free(tmp_path)


def test_ctrl_c_ends_the_wait(tmp_path: Path) -> None:
    with Run(tmp_path, command=python("print('in'); input()")) as holder:
        assert holder.line() == "in"
        with Terminal(tmp_path, "-v", command=["echo", "mine"]) as terminal:
            terminal.shows("waits for 'job'")
            terminal.enter("\x03")
            terminal.shows("its status is 130\r\n")
        holder.tell()
        assert holder.end() == (0, "", "")
    assert is_free(tmp_path)


@linux_only
def test_ctrl_z_stops_the_job_and_the_shell_continues_it(tmp_path: Path) -> None:
    with Terminal(tmp_path, command=python(COUNTING.format(first=""))) as terminal:
        these = terminal.shows(r"these are (\d+) (\d+)\r\n")
        run, command = int(these[1]), int(these[2])
        terminal.enter("\x1a")
        terminal.shows("the job is stopped\r\n")
        eventually(lambda: (state_of(run), state_of(command)) == ("T", "T"))
        terminal.enter("go on\n")
        eventually(lambda: "T" not in (state_of(run), state_of(command)))
        os.kill(run, signal.SIGUSR1)
        terminal.shows("counted 0 0\r\n")
        os.kill(run, signal.SIGTERM)
        terminal.shows("its status is 7\r\n")
    assert is_free(tmp_path)


def test_ctrl_z_stops_a_wait_too(tmp_path: Path) -> None:
    with Run(tmp_path, command=python("print('in'); input()")) as holder:
        assert holder.line() == "in"
        with Terminal(tmp_path, "-v", command=["echo", "mine"]) as terminal:
            terminal.shows("waits for 'job'")
            terminal.enter("\x1a")
            terminal.shows("the job is stopped\r\n")
            terminal.enter("go on\n")
            holder.tell()
            assert holder.end() == (0, "", "")
            terminal.shows("mine\r\n")
            terminal.shows("its status is 0\r\n")


def test_the_command_can_read_the_terminal(tmp_path: Path) -> None:
    with Terminal(tmp_path, command=python("print('read', input()[::-1])")) as terminal:
        terminal.enter("desserts\n")
        terminal.shows("read stressed\r\n")
        terminal.shows("its status is 0\r\n")


def state_of(pid: int) -> str:
    """Return ``T`` for a process that is stopped."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return stat.rpartition(")")[2].split()[0]
