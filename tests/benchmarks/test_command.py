"""The command line of the suite: what it prints, writes, refuses and returns."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import command, runner
from benchmarks.__main__ import main
from benchmarks.bars import Bar
from benchmarks.cells import Cell
from benchmarks.peers import Peer, all_peers
from benchmarks.workloads import Result, take_sample

ROOT = Path(__file__).parents[2]
OURS, THEIRS = "ThreadBackoffLock", "threading.Lock"
BRIEF = ["--only", OURS, "--only", THEIRS, "--only", "uncontended/threads", "--rounds", "1"]


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _bar(limit: float) -> Bar:
    return Bar("uncontended/threads", OURS, "entry", THEIRS, True, limit)


def test_the_list_names_every_workload_and_peer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    for name in ("tasks/asyncio/10000/random", "waiters/1000", "mixed/4+100/1ms", "spin", OURS):
        assert f"  {name} " in printed
    assert "about" in printed


def test_a_missing_peer_is_listed_as_missing_and_named_before_a_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = tuple(
        replace(peer, missing="aiologic is not installed") if peer.package == "aiologic" else peer
        for peer in all_peers()
    )
    monkeypatch.setattr(command, "all_peers", lambda: peers)
    assert main(["--list"]) == 0
    assert "missing: aiologic is not installed" in capsys.readouterr().out
    assert main([*BRIEF, "--only", "aiologic.Lock", "--check"]) in {0, 1}
    printed = capsys.readouterr()
    assert "aiologic.Lock is left out: aiologic is not installed" in printed.err
    assert "not measured" in printed.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rounds", "0"], "less than 1"),
        (["--rounds", "many"], "valid int"),
        (["--only", "nonsense"], "neither a workload nor a peer"),
        (["--only", "threads", "--only", "asyncio.Lock"], "nothing is left"),
        (["--only", "waiters", "--only", "spin", "--check"], "no bar is about"),
        (["--no-such-option"], "No such option"),
        (["--json"], "requires an argument"),
    ],
)
def test_a_bad_value_is_one_sentence_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.startswith("benchmarks: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "python -m benchmarks --quick --check" in capsys.readouterr().out


def test_check_fails_on_a_miss_and_only_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "bars_for", lambda: [_bar(1e-6)])
    assert main(BRIEF) == 0
    assert main([*BRIEF, "--check"]) == 1
    assert "1 of 1 bars missed" in capsys.readouterr().out
    monkeypatch.setattr(command, "bars_for", lambda: [_bar(1e6)])
    assert main([*BRIEF, "--check"]) == 0
    assert "0 of 1 bars missed" in capsys.readouterr().out


def test_json_has_the_environment_the_bars_and_every_sample(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*BRIEF, "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {sample["peer"] for sample in document["samples"]} == {OURS, THEIRS}
    assert len(document["samples"]) == 20  # ten interleaved samples of each
    assert all(sample["figures"]["entry"] > 0 for sample in document["samples"])
    assert {"Python", "build", "cores", "versions"} <= document["environment"].keys()
    (bar,) = [bar for bar in document["bars"] if bar["against"] == THEIRS]
    assert bar["reached"]["rounds"] == 10

    assert main([*BRIEF, "--json", str(tmp_path / "file.json")]) == 0
    assert json.loads((tmp_path / "file.json").read_text())["samples"]
    assert main([*BRIEF, "--json", str(tmp_path / "absent" / "file.json")]) == 2


def test_the_report_and_the_charts_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def brief(peer: Peer, cell: Cell, mode: str, seconds: float) -> Result:
        return take_sample(peer, cell, mode, min(seconds, 0.02))

    monkeypatch.setattr(runner, "take_sample", brief)
    missed = Bar("threads/8/empty", OURS, "throughput", THEIRS, False, 1e9)
    reached = Bar("threads/8/empty", OURS, "throughput", THEIRS, False, 1e-9)
    monkeypatch.setattr(command, "bars_for", lambda: [reached, missed])
    cells = ("tasks/asyncio/2", "tasks/asyncio/10/turn", "threads/8/empty", "waiters/1000")
    only = [option for cell in cells for option in ("--only", cell)]
    peers = ["--only", OURS, "--only", THEIRS, "--only", "asyncio.Lock"]
    assert main([*only, *peers, "--rounds", "1", "--output", str(tmp_path / "new")]) == 0

    text = (tmp_path / "new" / "RESULTS.md").read_text()
    assert "python -m benchmarks --only tasks/asyncio/2 " in text
    assert text.index("**missed**") < text.index("| reached |\n")
    for cell in ("tasks/asyncio/2/random", "threads/8/empty/think", "waiters/1000"):
        assert f"### {cell}\n" in text
    pictures = sorted((tmp_path / "new" / "charts").iterdir())
    names = {"throughput-tasks", "throughput-threads", "waits", "fairness", "cpu-while-waiting"}
    assert {picture.name for picture in pictures} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }
    for picture in pictures:
        assert picture.stat().st_size > 5000
        if picture.suffix == ".png":
            assert picture.read_bytes().startswith(b"\x89PNG")
            assert f"](charts/{picture.name})" in text
        else:
            assert ET.parse(picture).getroot().tag.endswith("svg")


def test_ctrl_c_ends_the_run_and_reports_what_is_finished(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = 0

    def make_or_interrupt() -> object:
        nonlocal made
        made += 1
        if made == 4:
            signal.raise_signal(signal.SIGINT)
        return theirs.make()

    (theirs,) = [peer for peer in all_peers() if peer.name == THEIRS]
    peers = tuple(
        replace(peer, make=make_or_interrupt) if peer is theirs or peer.name == THEIRS else peer
        for peer in all_peers()
    )
    monkeypatch.setattr(command, "all_peers", lambda: peers)
    file = tmp_path / "file.json"
    assert main([*BRIEF, "--check", "--json", str(file)]) == 130
    document = json.loads(file.read_text())
    assert document["interrupted"] is True
    assert sum(sample["peer"] == THEIRS for sample in document["samples"]) == 3
    printed = capsys.readouterr()
    assert "interrupted after" in printed.err
    assert THEIRS in printed.out


def test_it_runs_as_a_module() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks", *BRIEF, "--quick", "--json", "-"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["samples"]
