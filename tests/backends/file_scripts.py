"""Scripts about files, each in a process of its own: one that forks, is full, or has no rights."""

from __future__ import annotations

import textwrap
from pathlib import Path

from ..scripts import run_script

__all__ = ["PRELUDE", "run"]

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
    run_script(PRELUDE + textwrap.dedent(script), str(directory))
