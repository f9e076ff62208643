"""Scripts about files, each in a process of its own: one that forks, is full, or has no rights."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

__all__ = ["PRELUDE", "ROOT", "run"]

ROOT = Path(__file__).parent.parent.parent

PRELUDE = """
import os, resource, stat, sys, threading
from pathlib import Path
from backofflock import *
from backofflock.backends.file import FileBackend
from tests.backends.servers.file import descriptors_in, is_unlocked

directory = Path(sys.argv[1])

def refusal(backend, name="orders", kind=BackendRefused):
    token = os.urandom(8).hex()
    try:
        answer = backend.try_acquire(name, token, 1.0)
    except (BackendRefused, BackendUnavailable) as error:
        assert type(error) is kind, error
        assert not backend.renew(name, token, 1.0)
        assert not backend.release(name, token)
        return error.reason
    raise AssertionError(f"it was not refused: {answer}")

def become_nobody():
    '''Give up the rights of root, who may do everything; others have none to give up.'''
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
"""


def run(script: str, directory: Path) -> None:
    """Run a script after the prelude, every warning an error."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(script), str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr
