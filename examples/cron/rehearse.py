"""A cron job that must run once on a fleet, rehearsed by two "machines" at the same moment.

The line of ``crontab`` is taken as it stands and run by two shells at once, as cron would on two
machines. One makes the report. The other finds the lock taken and does not start the job: status
75. Had it been late, it would have started it, and the job would have found the report there.

    $ python examples/cron/rehearse.py
    backofflock run --timeout 0 nightly-report -- python report.py
    status 0: nightly-report: made the report
    status 75: backofflock: gave up on lock 'nightly-report' after 1 attempt and …
    report.txt: made under fence …

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
MACHINES = 2


def nightly_command() -> str:
    """Return the command of the crontab's one job."""
    (line,) = [line for line in (HERE / "crontab").read_text().splitlines() if line[:1].isdigit()]
    return line.split(maxsplit=5)[5]


def main(work: Path) -> None:
    """Run the job on all machines at once, and say what came of it on each."""
    shutil.copy(HERE / "report.py", work)
    programs = Path(sys.executable).parent  # where this Python's `backofflock` is
    env = {
        "BACKOFFLOCK_BACKEND": f"file://{work}/locks",
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    command = nightly_command()
    print(command)
    pipe, merged = subprocess.PIPE, subprocess.STDOUT
    machines = [
        subprocess.Popen(command, shell=True, cwd=work, env=env, stdout=pipe, stderr=merged)
        for _ in range(MACHINES)
    ]
    said = [machine.communicate()[0].decode().strip() for machine in machines]
    for status, text in sorted(zip([m.returncode for m in machines], said, strict=True)):
        print(f"status {status}: {text}")
    print(f"report.txt: {(work / 'report.txt').read_text()}", end="")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        main(Path(directory))
