"""``backofflock run`` as a process: started, read line by line, and never left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pytest

LIMIT = 60.0
"""Seconds after which a process is stuck."""

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, or prctl")


def environment(**more: str) -> dict[str, str]:
    """Return the environment of this process, without what would change the lock."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKOFFLOCK")}
    kept.pop("PYTHONUNBUFFERED", None)  # it hides what fails when it is written at the end
    return {**kept, "PYTHONIOENCODING": "utf-8", **more}


def python(program: str) -> list[str]:
    """Return a command that runs `program`."""
    return [sys.executable, "-u", "-c", program]


class Run:
    """One ``backofflock run``; leaving it kills it, and what it started."""

    def __init__(
        self,
        where: Path | str | None,
        *arguments: str,
        command: Sequence[str] = (),
        name: str = "job",
        env: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        backend = [] if where is None else ["--backend", _url(where)]
        words = ["--", *command] if command else []
        more.setdefault("stdin", subprocess.PIPE)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backofflock", "run", *backend, *arguments, name, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment() if env is None else env,
            start_new_session=True,  # so that no terminal of the tests has a say
            **more,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """Return the next line that the command prints."""
        return _line(self.process.stdout)

    def said(self) -> str:
        """Return the next line that backofflock says."""
        return _line(self.process.stderr)

    def said_until(self, part: str) -> str:
        """Return the next line of backofflock that has `part` in it."""
        said = ""
        while part not in (line := self.said()):
            assert line, f"it never said {part!r}, but {said}"
            said += f"\n{line}"
        return line

    def tell(self, line: str = "") -> None:
        """Send a line to the command."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send a signal to backofflock, and to nobody else."""
        os.kill(self.pid, number)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return the status, and what is left to read of stdout and stderr."""
        out, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                # Its session, so the command too.
                _kill = getattr(os, "killpg", None)
                self.process.kill() if _kill is None else _kill(self.pid, 9)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()


def run(where: Path | str | None, *arguments: str, **how: Any) -> tuple[int, str, str]:
    """Run to the end; return the status, stdout and stderr."""
    with Run(where, *arguments, **how) as process:
        return process.end()


def is_free(where: Path, name: str = "job") -> bool:
    """Return whether another can have the lock at once."""
    status, _, _ = run(where, "--timeout", "0", command=python(""), name=name)
    assert status in (0, 75)
    return status == 0


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it is true."""
    import time

    until = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < until, "it never became true"
        time.sleep(0.01)


def _url(where: Path | str) -> str:
    return where.as_uri() if isinstance(where, Path) else where


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().rstrip("\n")
