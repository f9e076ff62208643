"""The command line as a process of its own: Ctrl-C, closed pipes, a missing extra."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

import backofflock

from .running import environment

LIMIT = 60.0
"""Seconds after which a child is stuck; it takes a second or two."""


@contextmanager
def child(
    *arguments: str, stdout: int | IO[str] = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """Run ``python`` with `arguments`; kill it if the test leaves it running."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_python_m_backofflock_is_the_command() -> None:
    with child("-m", "backofflock", "--version") as process:
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (0, "")
    assert out == f"backofflock {backofflock.__version__}\n"


# -- Ctrl-C ----------------------------------------------------------------------------------------

sends_ctrl_c = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process of a group"
)


def read_until(stream: IO[str] | None, pattern: str) -> str:
    """Return what `stream` says up to the line that matches `pattern`."""
    assert stream is not None
    text = ""
    for line in stream:
        text += line
        if re.match(pattern, line):
            return text
    raise AssertionError(f"no line matches {pattern!r}: {text!r}")


@sends_ctrl_c
@pytest.mark.parametrize(
    "moment", ["backofflock ", r"\[1/1\] "], ids=["at once", "within a system"]
)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--only", "mutex"], id="blocking"),
        pytest.param(["--only", "spin"], id="spinning"),
        pytest.param(["--only", "fixed"], id="napping"),
    ],
)
def test_ctrl_c_ends_it_without_a_traceback(options: list[str], moment: str) -> None:
    with child("-m", "backofflock", "demo", "--hold", "600", *options) as process:
        read_until(process.stdout, moment)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read() if process.stderr else ""
        out = process.stdout.read() if process.stdout else ""
        status = process.wait(timeout=LIMIT)
    assert (status, err) == (130, "")
    assert out.endswith("interrupted: 0 of 1 systems finished\n")


@sends_ctrl_c
def test_ctrl_c_prints_the_systems_that_were_finished() -> None:
    options = ["--only", "mutex", "--only", "linear", "--rounds", "4"]
    with child("-m", "backofflock", "demo", *options) as process:
        before = read_until(process.stdout, r"\[2/2\]")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (130, "")
    assert "[1/2] mutex" in before
    assert "\n mutex " in out
    assert "\n linear " not in out
    assert out.endswith("interrupted: 1 of 2 systems finished\n")


@sends_ctrl_c
def test_threads_in_long_naps_do_not_keep_the_process() -> None:
    options = ["--only", "fixed", "--scale", "3600", "--tasks", "0", "--hold", "600"]
    with child("-m", "backofflock", "demo", *options) as process:
        read_until(process.stdout, r"    thread-\d holds;.*after 1, .*after 1$")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert err == "backofflock: threads left behind in naps that nothing can cut short: 2\n"


# -- where the output goes -------------------------------------------------------------------------


def test_a_closed_pipe_ends_it_quietly() -> None:
    with child("-m", "backofflock", "demo", "--only", "linear") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        assert process.wait(timeout=LIMIT) == 1
    assert err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
def test_a_full_disk_gets_one_sentence() -> None:
    with (
        Path("/dev/full").open("w", encoding="utf-8") as full,
        child("-m", "backofflock", "demo", "--only", "linear", stdout=full) as process,
    ):
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert err == "backofflock: cannot go on: No space left on device\n"


# -- a missing extra -------------------------------------------------------------------------------

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise {error}

sys.meta_path.insert(0, Blocker())
from backofflock.cli import main
sys.exit(main({arguments!r}))
"""


MISSING = 'ModuleNotFoundError(f"No module named {name!r}", name=name)'


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_named_in_one_sentence(missing: str) -> None:
    with child("-c", BLOCK.format(missing=missing, error=MISSING, arguments=["demo"])) as process:
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1
    assert missing in err
    assert 'pip install "backofflock[cli]"' in err


def test_another_missing_module_is_not_mistaken_for_the_extra() -> None:
    with child(
        "-c", BLOCK.format(missing="difflib", error=MISSING, arguments=["demo", "--list"])
    ) as process:
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "ModuleNotFoundError: No module named 'difflib'" in err
    assert "backofflock[cli]" not in err


def test_ctrl_c_while_the_command_line_is_loaded_ends_it_quietly() -> None:
    program = BLOCK.format(missing="rich", error="KeyboardInterrupt", arguments=["demo"])
    with child("-c", program) as process:
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out, err) == (130, "", "")
