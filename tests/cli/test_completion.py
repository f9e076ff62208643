"""Completion of the command line in a real bash: shown, installed, and asked as bash asks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.name == "nt" or shutil.which("bash") is None, reason="this is about bash"
)

SHOWN = 'eval "$(backofflock --show-completion)"'
INSTALLED = 'backofflock --install-completion >/dev/null; source "$HOME/.bashrc"'

ASK = """
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
"$(complete -p backofflock | sed 's/.*-F \\([^ ]*\\).*/\\1/')" backofflock
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def _bash(script: str, home: Path) -> list[str]:
    """Return the lines that a new bash of a user with that home prints."""
    scripts = Path(sys.executable).parent
    result = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", f"set -e\n{script}\n:"],
        env={
            **os.environ,
            "HOME": str(home),
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "SHELL": "bash",
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.split()


@pytest.mark.parametrize("prepare", [SHOWN, INSTALLED], ids=["shown", "installed"])
def test_bash_completes_commands(prepare: str, tmp_path: Path) -> None:
    assert _bash(prepare + ASK.format(words="backofflock s"), tmp_path) == ["schedule", "simulate"]


def test_bash_completes_the_options_of_a_command(tmp_path: Path) -> None:
    assert _bash(SHOWN + ASK.format(words="backofflock run --ba"), tmp_path) == ["--backend"]


def test_what_is_installed_lasts(tmp_path: Path) -> None:
    _bash(INSTALLED, tmp_path)
    later = 'source "$HOME/.bashrc"'
    assert _bash(later + ASK.format(words="backofflock d"), tmp_path) == ["demo"]
