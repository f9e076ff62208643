"""The soak: a short one is clean, and it bites on faulty locks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backofflock._contention import Contention
from backofflock._waiter import Waiter

from .soak.cast import Options, cast, programs_of
from .soak.command import main

ROOT = Path(__file__).parent.parent

EVENTS = {
    "blocked loops",
    "cancels",
    "closed loops",
    "collections",
    "ended trio runs",
    "errors inside",
    "left early",
    "refusals",
    "timeouts",
    *(["forks"] if hasattr(os, "fork") else []),
}
HOSTS = {"thread": "thread", "asyncio A": "asyncio", "asyncio B": "asyncio", "trio": "trio"}
KINDS = {
    f"{('shared', 'owned')[role.site]} {HOSTS[role.place]} {verb}"
    for role in cast(Options())
    for verb in role.verbs
}


def command(*args: str | Path) -> list[str]:
    """Return what runs a soak, with every warning an error."""
    return [sys.executable, "-W", "error", "-m", "tests.soak", *map(str, args)]


def run(line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


def test_a_short_soak_is_clean(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    done = run(command("--minutes", "0.3", "--seed", "7", "--json", file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    found = json.loads(file.read_text())
    assert (found["seed"], found["interrupted"], found["problems"]) == (7, False, [])
    assert (found["overlaps"], found["lost_keys"]) == (0, 0)
    assert found["left_behind"] == {"waiters": 0, "pledges": 0, "policies": 0, "attempts": 0}
    assert len(KINDS) == 20
    sections = found["sections"]
    assert {kind: sections.get(kind, 0) for kind in KINDS if sections.get(kind, 0) < 20} == {}
    assert sum(sections.values()) > 2000
    assert {what: found["events"].get(what, 0) for what in EVENTS - set(found["events"])} == {}
    assert found["growth"]["blocks"] <= found["growth"]["allowed"]
    assert all(0.0 <= seconds < 4.0 for seconds in found["longest_wait"].values())


class HoardsWaiters(Contention):
    """It excludes and moves on, and lets go of nothing."""

    hoard: ClassVar[list[Waiter]] = []

    def _leave(self, waiter: Waiter) -> None:
        self.hoard.append(waiter)
        super()._leave(waiter)


class HoardsCrumbs(Contention):
    """It lets go of everything that has a name, and keeps a little something."""

    hoard: ClassVar[list[object]] = []

    def _leave(self, waiter: Waiter) -> None:
        self.hoard.extend((object(), object(), object()))
        super()._leave(waiter)


BROKEN_EXCLUSION = ("shared", "release unlocked lock")
"""Two are inside, or the second to leave finds that the first has released for both."""

FAULTS = {
    # The fault, the lock it is in, and what the soak has to say of it: one of these.
    "LooksThenTakes": ("shared=broken.LooksThenTakes", BROKEN_EXCLUSION),
    "DoublesKeyAtCancel": (
        "shared=faulty(ThreadBackoffLock, broken.DoublesKeyAtCancel)",
        BROKEN_EXCLUSION,
    ),
    "LosesKeyAtCancel": (
        "owned=faulty(BackoffLock, broken.LosesKeyAtCancel)",
        ("the key is gone, and nobody is inside",),
    ),
    "HoardsWaiters": (
        "owned=faulty(BackoffLock, HoardsWaiters)",
        ("waiters left behind after everybody stopped",),
    ),
    "HoardsCrumbs": ("owned=faulty(BackoffLock, HoardsCrumbs)", ("memory grew by",)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_it_bites(fault: str, tmp_path: Path) -> None:
    lock, said = FAULTS[fault]
    # What is left behind is seen at the end of a phase; the other faults end a run at once.
    minutes = "0.1" if fault.startswith("Hoards") else "0.4"
    file = tmp_path / "soak.json"
    program = f"""
import sys
from backofflock import BackoffLock, ThreadBackoffLock
from tests.contract import broken_locks as broken
from tests.soak.command import main
from tests.test_soak import HoardsCrumbs, HoardsWaiters

def faulty(face, machine):
    make = broken.over_machine(face, machine)
    return lambda: make().lock

args = ["--minutes", "{minutes}", "--seed", "7", "--json", {str(file)!r}]
if __name__ == "__main__":
    sys.exit(main(args, {lock}))
"""
    done = run([sys.executable, "-c", program])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "--seed 7" in done.stderr
    found = json.loads(file.read_text())
    problems = "\n".join(found["problems"])
    assert any(each in problems for each in said), problems
    if said is BROKEN_EXCLUSION:
        assert found["overlaps"] > 0 or "release unlocked lock" in problems, problems
    if fault == "LosesKeyAtCancel":
        assert found["lost_keys"] > 0


def test_the_same_seed_gives_the_same_programs() -> None:
    first, second, other = (programs_of(Options(seed=seed), "main") for seed in (7, 7, 8))
    assert first == second
    assert first != other
    assert first != programs_of(Options(seed=7), "warm-up")
    # As drawn by every Python version and on every machine.
    assert first == "e30f8578b5655b42"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--minutes", "0"], "--minutes: must be a number of minutes above 0, not '0'"),
        (["--minutes", "nan"], "--minutes: must be a number of minutes above 0, not 'nan'"),
        (["--minutes", "inf"], "--minutes: must be a number of minutes above 0, not 'inf'"),
        (["--minutes", "soon"], "--minutes: must be a number of minutes above 0, not 'soon'"),
        (["--seed", "-1"], "--seed: must be a whole number from 0 to"),
        (["--seed", "1.5"], "--seed: must be a whole number from 0 to"),
        (["--threads", "0"], "--threads: must be a whole number from 1 to 256, not '0'"),
        (["--tasks", "1001"], "--tasks: must be a whole number from 1 to 1000, not '1001'"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_a_bad_option_is_one_sentence(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("soak: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_file_that_cannot_be_written_is_told_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--json", str(tmp_path / "no such folder" / "soak.json")]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a process")
def test_interrupted_it_stops_everybody_and_says_what_it_found(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    process = subprocess.Popen(
        command("--minutes", "5", "--seed", "7", "--json", file),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "seed 7" in process.stdout.readline()
        time.sleep(1.0)  # any moment from here on will do, one in the middle shows most
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (130, ""), out + err
    found: dict[str, Any] = json.loads(file.read_text())
    assert found["interrupted"]
    assert found["problems"] == []
    assert "overlaps" in out
