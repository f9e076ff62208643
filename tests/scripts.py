"""Scripts that tests run in an interpreter of their own, and what scripts do that fork or wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

__all__ = ["ROOT", "command", "in_child", "run_script", "until"]

ROOT = Path(__file__).parent.parent
"""Where scripts run, so that they can import what the tests have."""

SECONDS = 20.0
"""What a child, or a condition, may take on a busy machine."""


def command(script: str, *arguments: str) -> list[str]:
    """Return the command that runs a script, every warning an error."""
    return [sys.executable, "-W", "error", "-c", script, *arguments]


def run_script(script: str, *arguments: str, prints: str = "") -> None:
    """Run a script to its end: it succeeds, prints just that, and complains of nothing."""
    done = subprocess.run(
        command(script, *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, prints, ""), done.stderr


def in_child(check: Callable[[], object], fork: Callable[[], int] | None = None) -> None:
    """Fork, run the check in the child, and pass its failure on."""
    with warnings.catch_warnings():
        # That a process with threads is forked is the very thing to test.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        child = (fork or os.fork)()
    if child == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    latest = time.monotonic() + SECONDS
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > latest:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError("the child hangs")
        time.sleep(0.001)
    assert ended[1] == 0, f"the child failed with {ended[1]}"


def until(condition: Callable[[], object]) -> None:
    """Wait in a thread until a condition holds."""
    latest = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < latest, "in vain"
        time.sleep(0.001)
