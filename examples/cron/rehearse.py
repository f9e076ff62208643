"""A cron job that must run once on a fleet, rehearsed by three "machines" at the same moment.

The line of ``crontab`` is taken as it stands and run by three shells at once, as cron would on
three machines. One of them makes the report. The others find the lock taken, which is status 75 and
which the line takes for what it is: nothing to do. Or they were late, and find the report there.

    python examples/cron/rehearse.py

Needs the extra ``cli``, and a POSIX shell. The machines meet in a directory here; set
BACKOFFLOCK_BACKEND to rehearse on a server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MACHINES = 3


def nightly_command() -> str:
    """Return the command of the crontab's one job."""
    (line,) = [line for line in (HERE / "crontab").read_text().splitlines() if line[:1].isdigit()]
    return line.split(maxsplit=5)[5]


def main(work: Path) -> None:
    """Run the job on all machines, and say what came of it on each."""
    shutil.copy(HERE / "report.py", work)
    programs = Path(sys.executable).parent  # where this Python's `backofflock` is
    env = {
        "BACKOFFLOCK_BACKEND": f"file://{work}/locks",
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    command = nightly_command()
    print(f"$ {command}")
    pipe, merged = subprocess.PIPE, subprocess.STDOUT
    machines = [
        subprocess.Popen(command, shell=True, cwd=work, env=env, stdout=pipe, stderr=merged)
        for _ in range(MACHINES)
    ]
    for number, machine in enumerate(machines, 1):
        said = machine.communicate()[0].decode().strip()
        print(f"machine {number}: status {machine.returncode}: {said}")
    print(f"report.txt: {(work / 'report.txt').read_text()}", end="")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        main(Path(directory))
