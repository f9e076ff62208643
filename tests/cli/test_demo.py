"""``backofflock demo`` as a command, run in this process: what it prints, and its exit status."""

from __future__ import annotations

import io
import json
import re
from functools import partial
from typing import Any

import pytest

import backofflock
from backofflock.cli import main
from backofflock.cli.contenders import Contender
from backofflock.cli.contest import Contest, Result
from backofflock.cli.demo import run_systems
from backofflock.cli.display import JsonDisplay, PlainDisplay, outcome
from backofflock.cli.manners import Manner
from backofflock.cli.settings import Settings
from backofflock.cli.systems import SYSTEMS, select

from .settled import settled

QUICK = ["--rounds", "2", "--hold", "0.001", "--scale", "0.01"]
NAMES = [system.name for system in SYSTEMS]
FIGURES = {
    "acquisitions",
    "gave_up",
    "attempts",
    "total_wait",
    "longest_wait",
    "free_while_waited",
    "cpu",
    "loop_delay",
    "elapsed",
    "other_work",
    "status_lines",
    "intrusions",
}


def rows(text: str) -> list[list[str]]:
    """Return the cells of the summary table in plain `text`."""
    below = re.split(r"^ *[-─|+]{20,}$", text, flags=re.MULTILINE)[1]
    table = below.strip("\n").split("\n\n")[0]
    return [line.split() for line in table.splitlines()]


# -- plain lines -----------------------------------------------------------------------------------


def test_plain_output_names_every_system_and_ends_in_a_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo", *QUICK]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x9b]", out), "control characters"
    for number, system in enumerate(SYSTEMS, start=1):
        assert f"[{number}/{len(SYSTEMS)}] {system.name}: {system.form}; {system.note}\n" in out
    table = rows(out)
    assert [cells[0] for cells in table] == NAMES
    for cells in table:
        assert len(cells) == 9
        assert int(cells[1]) + int(cells[2]) == 12
    assert max(map(len, out[out.index(" system ") :].splitlines())) <= 80


def test_the_status_system_prints_a_line_per_failed_try(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo", "--only", "status", *QUICK]) == 0
    out = capsys.readouterr().out
    lines = re.findall(
        r"^    (?:thread|task)-[1-3] has waited \d+\.\d{3} s after (\d+) failed "
        r"attempts?; next try in \d+\.\d{3} s$",
        out,
        re.MULTILINE,
    )
    ((_, got, _, attempts, *_),) = rows(out)
    assert len(lines) == int(attempts) - int(got)
    assert "1" in lines


def test_plain_output_says_now_and_then_who_holds_and_who_waits() -> None:
    stream = io.StringIO()
    (system,) = select(["exponential"])
    display = PlainDisplay(stream, snapshot_every=0.0)
    with settled(system) as contest:
        display.start(1, system)
        display.tick(contest)
        display.tick(contest)
    snapshots = stream.getvalue().splitlines()[1:]
    assert len(snapshots) == 2
    for snapshot in snapshots:
        told = re.fullmatch(r"    (\S+) holds; waiting \(failed attempts\): (.*)", snapshot)
        assert told
        waits = [re.fullmatch(r"(\S+) \d+\.\d\d s after (\d+)", w) for w in told[2].split(", ")]
        names = {told[1]} | {wait[1] for wait in waits if wait}
        assert names == {me.name for me in contest.contenders}
        assert all(wait and int(wait[2]) >= 2 for wait in waits)


def test_plain_output_says_so_no_more_often_than_it_should() -> None:
    stream = io.StringIO()
    (system,) = select(["exponential"])
    display = PlainDisplay(stream, snapshot_every=3600.0)
    with settled(system) as contest:
        display.start(1, system)
        display.tick(contest)
        assert stream.getvalue().count("holds; waiting") == 0
        display._next_snapshot = 0.0
        display.tick(contest)
        display.tick(contest)
    assert stream.getvalue().count("holds; waiting") == 1


@pytest.mark.parametrize(
    ("got", "gave_up", "attempts", "other_work", "line"),
    [
        (12, 0, 12, 0, "12 acquisitions in 1.50 s, 12 attempts"),
        (1, 0, 1, 0, "1 acquisition in 1.50 s, 1 attempt"),
        (1, 2, 4321, 0, "1 acquisition in 1.50 s, 2 gave up, 4,321 attempts"),
        (3, 1, 60, 56, "3 acquisitions in 1.50 s, 1 gave up, 60 attempts, other work: 56"),
    ],
)
def test_the_line_of_a_finished_system(
    got: int, gave_up: int, attempts: int, other_work: int, line: str
) -> None:
    result = Result(
        system=SYSTEMS[0],
        acquisitions=got,
        gave_up=gave_up,
        attempts=attempts,
        total_wait=1.0,
        longest_wait=0.5,
        free_while_waited=0.1,
        cpu=0.1,
        loop_delay=0.01,
        elapsed=1.5,
        other_work=other_work,
        status_lines=0,
        intrusions=0,
    )
    assert outcome(result) == line


def test_only_runs_the_named_systems_in_the_order_of_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo", "--only", "linear", "--only", "mutex", *QUICK]) == 0
    assert [cells[0] for cells in rows(capsys.readouterr().out)] == ["mutex", "linear"]


def test_list_names_the_systems_and_runs_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == NAMES


# -- for machines ----------------------------------------------------------------------------------


def test_json_is_one_document_whose_figures_agree(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--threads", "2", "--tasks", "1", "--seed", "-5"]
    assert main(["demo", "--json", *QUICK, *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    document: dict[str, Any] = json.loads(out)
    assert set(document) == {"version", "settings", "interrupted", "systems"}
    assert document["version"] == backofflock.__version__
    assert document["interrupted"] is False
    assert document["settings"] == {
        "threads": 2,
        "tasks": 1,
        "rounds": 2,
        "hold": 0.001,
        "scale": 0.01,
        "seed": -5,
    }
    assert [system["name"] for system in document["systems"]] == NAMES
    for system in document["systems"]:
        assert set(system) == FIGURES | {"name", "form", "note"}
        assert system["acquisitions"] + system["gave_up"] == 6
        assert system["attempts"] >= 6
        assert system["longest_wait"] <= system["total_wait"]
        assert system["free_while_waited"] <= system["elapsed"]
        assert system["intrusions"] == 0


def test_the_help_names_every_field_of_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--help"]) == 0
    told = set(re.findall(r"\w+", capsys.readouterr().out))
    assert FIGURES | {"version", "settings", "interrupted", "systems"} <= told


# -- a lock that does not exclude ------------------------------------------------------------------


class NoLock(Manner):
    def in_thread(self, me: Contender) -> None:
        me.ask()
        me.hold_in_thread()

    async def in_task(self, me: Contender) -> None:
        me.ask()
        await me.hold_in_task()


def test_a_lock_that_lets_two_in_fails_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(threads=0, tasks=2, rounds=1, hold=0.01)
    contest_of = partial(Contest, manner_of=lambda *_: NoLock())
    stream = io.StringIO()
    assert run_systems(select(["linear"]), settings, JsonDisplay(stream), contest_of) == 1
    assert json.loads(stream.getvalue())["systems"][0]["intrusions"] == 1
    err = capsys.readouterr().err
    assert err == "backofflock: the lock of 'linear' let two in at once, 1 times\n"
