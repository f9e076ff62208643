"""The examples, each run by the commands its own text gives."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import environment

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"

PRINTED = {
    "web_service.py": r"sold 40, delivered 20\non the shelf: 80; should be 80\n",
    # How much is lost depends on who meets whom.
    "web_service.py --without-lock": r"sold 40, delivered 20\non the shelf: \d+; should be 80\n",
    "trio_program.py": (
        r"the hurried one went without: AcquireTimeout\n"
        r"20 workers got token-1, fetched 1 time\n"
        r"locked: False, waiting: 0, gave up: 1\n"
    ),
    "anyio_program.py": "".join(
        rf"{backend}: read \d+ documents meanwhile, and added them at attempt \d+\n"
        for backend in ("asyncio", "trio")
    ),
    "two_loops.py": (
        r"BackoffLock: counted to 200 of 200\nasyncio.Lock: is bound to a different event loop\n"
    ),
    "foreign_lock.py": (
        r"with cache_lock: the cache has 0 entries, and the event loop stood still\n"
        r"async with BackoffLock: the cache has 0 entries, and the event loop kept running\n"
    ),
    "cron/rehearse.py": (
        r"\$ backofflock run .*\n"
        r"(machine \d: status 0: (nightly-report: (made the report|the report is there already)"
        r"|backofflock: gave up on lock 'nightly-report' after 1 attempt .*)\n){3}"
        r"report.txt: made under fence \d+\n"
    ),
}


def documentation(path: Path) -> str:
    """Return the text at the top of a program."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text is not None, path
    return text


COMMANDS = [
    command
    for path in sorted(EXAMPLES.rglob("*.py"))
    for command in re.findall(
        r"^    python examples/(\S+(?: --\S+)*)", documentation(path), re.MULTILINE
    )
]


def run(command: str) -> str:
    """Return what an example prints, which must end well and not complain."""
    result = subprocess.run(
        [sys.executable, "-W", "error", *f"examples/{command}".split()],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=90,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_every_example_says_how_it_is_run() -> None:
    assert sorted(COMMANDS) == sorted(PRINTED)
    programs = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")}
    assert programs - {command.split()[0] for command in COMMANDS} == {"cron/report.py"}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_example_prints_what_it_should(command: str) -> None:
    assert re.fullmatch(PRINTED[command], run(command))


def test_the_cron_job_is_done_once() -> None:
    assert run("cron/rehearse.py").count("made the report") == 1


def test_the_readme_has_all_examples_in_its_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(examples/([\w./]+\.py)\)", readme))
    assert named == {command.split()[0] for command in COMMANDS}
