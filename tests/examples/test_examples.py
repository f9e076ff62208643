"""The examples, run as their own text shows it, print what their own text says."""

from __future__ import annotations

import ast
import asyncio
import importlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import httpx
import pytest

from backofflock import ThreadDistributedLock
from tests.cli.running import LIMIT, environment, posix_only

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"

SERVING = "web_service.py --serve"
"""The one that runs until Ctrl-C."""

TAKEN, LATE = "status 75: ", "status 0: nightly-report: the report is there already"
"""What the second machine says; and what it says if it was so busy that the first is done."""


def documentation(path: Path) -> str:
    """Return the text at the top of a program."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text is not None, path
    return f"{text}\n"


SESSIONS: dict[str, str] = {
    command: textwrap.dedent(shown)
    for path in sorted(EXAMPLES.rglob("*.py"))
    for command, shown in re.findall(
        r"^    \$ python examples/(.+)\n((?:    .+\n)+)", documentation(path), re.MULTILINE
    )
}
"""What each command prints by its own text; ``…`` stands for what differs from run to run."""


def as_pattern(shown: str) -> str:
    """Return a regular expression for what is shown."""
    lines = []
    for line in shown.splitlines():
        pattern = re.escape(line).replace("…", ".+")
        lines.append(f"({pattern}|{LATE})" if line.startswith(TAKEN) else pattern)
    return "".join(f"{line}\n" for line in lines)


@contextmanager
def started(command: str) -> Iterator[subprocess.Popen[str]]:
    """Start an example; its warnings are errors, and it does not outlive the test."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", *shlex.split(f"examples/{command}")],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_every_example_shows_how_it_is_run() -> None:
    programs = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")}
    assert programs - {command.split()[0] for command in SESSIONS} == {"cron/report.py"}


@pytest.mark.parametrize("command", [command for command in SESSIONS if command != SERVING])
def test_an_example_prints_what_its_text_shows(command: str) -> None:
    with started(command) as process:
        printed, complaints = process.communicate(timeout=LIMIT)
    assert (process.returncode, complaints) == (0, "")
    assert re.fullmatch(as_pattern(SESSIONS[command]), printed), printed


@posix_only
def test_the_service_answers_until_ctrl_c_and_leaves_nothing_behind() -> None:
    delivered: int = importlib.import_module("examples.web_service").DELIVERIES
    with started(SERVING) as process:
        assert process.stdout
        announced = process.stdout.readline()
        assert re.fullmatch(as_pattern(SESSIONS[SERVING]), f"{announced}^C\n")
        url = announced.split()[-1]
        # Its worker delivers meanwhile. Once all has come nothing is missing, and nothing too much.
        latest, sold = time.monotonic() + LIMIT, 1
        while httpx.post(url).json()["left"] != 100 + delivered - sold:
            assert time.monotonic() < latest, "a piece was lost"
            sold += 1
        process.send_signal(signal.SIGINT)
        printed, complaints = process.communicate(timeout=LIMIT)
    assert (process.returncode, printed, complaints) == (0, "", "")


# -- the faults the examples tell of: each program is wrong as soon as its lock is taken out -------


def test_without_a_lock_the_web_service_sells_every_piece_forty_times() -> None:
    web_service = importlib.import_module("examples.web_service")

    async def pieces_after_sales(lock: object) -> int:
        stock = web_service.Stock(lock)
        await asyncio.gather(*(stock.sell() for _ in range(40)))
        pieces: int = stock.pieces
        return pieces

    assert asyncio.run(pieces_after_sales(web_service.NoLock())) == 99
    assert asyncio.run(pieces_after_sales(web_service.ThreadBackoffLock())) == 60


def test_without_a_lock_two_loops_lose_counts() -> None:
    two_loops = importlib.import_module("examples.two_loops")
    counter = two_loops.Counter(nullcontext())
    two_loops.on_two_loops(counter)
    # On either loop the first tasks all read before one of them writes.
    assert counter.errors == []
    assert 0 < counter.value < 2 * two_loops.TASKS * two_loops.ROUNDS


# -- the cron job ----------------------------------------------------------------------------------


@posix_only
def test_the_line_of_the_crontab_leaves_a_taken_lock_alone(tmp_path: Path) -> None:
    rehearse = importlib.import_module("examples.cron.rehearse")
    backend = f"file://{tmp_path}/locks"
    shutil.copy(EXAMPLES / "cron" / "report.py", tmp_path)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with ThreadDistributedLock("nightly-report", backend, timeout=LIMIT):
        result = subprocess.run(
            rehearse.nightly_command(),
            shell=True,
            cwd=tmp_path,
            env=environment(BACKOFFLOCK_BACKEND=backend, PATH=path),
            timeout=LIMIT,
            check=False,
        )
    assert result.returncode == 75
    assert not (tmp_path / "report.txt").exists()


def test_a_report_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    job = [sys.executable, str(EXAMPLES / "cron" / "report.py")]
    for fence, said in ((1, "made the report"), (2, "the report is there already")):
        env = environment(BACKOFFLOCK_NAME="nightly", BACKOFFLOCK_FENCE=str(fence))
        assert (
            subprocess.check_output(job, cwd=tmp_path, env=env, text=True) == f"nightly: {said}\n"
        )
    assert (tmp_path / "report.txt").read_text() == "made under fence 1\n"


def test_the_readme_has_all_examples_in_its_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(examples/([\w./]+\.py)\)", readme))
    assert named == {command.split()[0] for command in SESSIONS}
