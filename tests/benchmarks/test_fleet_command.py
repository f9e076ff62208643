"""The command line of the suite of distributed locks: what it prints, writes and returns."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bars import Bar, judge
from benchmarks.fleet import command, measure, servers
from benchmarks.fleet.__main__ import main
from benchmarks.fleet.bars import BARS
from benchmarks.fleet.cells import CELLS, FleetCell
from benchmarks.fleet.peers import all_peers
from benchmarks.fleet.report import write_report
from benchmarks.fleet.words import SHORT
from benchmarks.peers import Peer
from benchmarks.samples import Sample
from benchmarks.workloads.tally import Result

ROOT = Path(__file__).parents[2]
OURS, THEIRS = "ThreadDistributedLock", "filelock.FileLock"
CELL = "file/threads/uncontended"
BRIEF = ["--only", CELL, "--only", OURS, "--only", THEIRS, "--rounds", "1"]


def _bar(limit: float) -> Bar:
    return Bar(CELL, OURS, "entry", THEIRS, True, limit)


def test_the_list_names_every_workload_and_peer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    for cell in CELLS:
        assert f"  {cell.id} " in printed
    for peer in all_peers():
        assert f"  {peer.name} " in printed
    assert "samples, about" in printed


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "python -m benchmarks.fleet --quick --check" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rounds", "0"], "less than 1"),
        (["--only", "mysql"], "neither a workload nor a peer"),
        (["--only", "etcd", "--only", "redis.lock.Lock"], "nothing is left"),
        (["--only", "postgres/threads/2", "--check"], "no bar is about"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_a_bad_value_is_one_sentence_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_check_fails_on_a_miss_and_only_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "BARS", [_bar(1e-6)])
    assert main([*BRIEF, "--quick"]) == 0
    assert main([*BRIEF, "--quick", "--check"]) == 1
    assert "1 of 1 bars missed" in capsys.readouterr().out
    monkeypatch.setattr(command, "BARS", [_bar(1e6)])
    assert main([*BRIEF, "--quick", "--check"]) == 0
    assert "0 of 1 bars missed" in capsys.readouterr().out


def test_json_has_the_environment_the_bars_and_every_sample(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*BRIEF, "--quick", "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {sample["peer"] for sample in document["samples"]} == {OURS, THEIRS}
    assert len(document["samples"]) == 8  # four of each, taking turns
    assert all(sample["figures"]["entry"] > 0 for sample in document["samples"])
    assert {"Python", "cores", "versions", "servers"} <= document["environment"].keys()
    (bar,) = document["bars"]
    assert (bar["against"], bar["reached"]["rounds"]) == (THEIRS, 4)


def test_what_is_missing_is_named_and_its_bars_are_not_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = tuple(
        replace(peer, missing="filelock is not installed") if peer.package == "filelock" else peer
        for peer in all_peers()
    )
    monkeypatch.setattr(command, "all_peers", lambda: peers)
    monkeypatch.setitem(servers.CLASSES, "etcd", "NoSuchServer")
    assert main([*BRIEF, "--only", "etcd/threads"]) == 0
    printed = capsys.readouterr()
    assert f"{THEIRS} is left out: filelock is not installed" in printed.err
    assert "etcd is left out: no server: " in printed.err
    assert "NoSuchServer" in printed.err
    assert printed.out.count("not measured") == 3


def _figures(_crew: Any, _servers: Any, peer: Peer, cell: FleetCell, _seconds: float) -> Result:
    figures = {metric: 1.0 + len(peer.name) for metric in SHORT}
    if cell.workload != "uncontended":
        del figures["entry"]
    return Result(figures)


def test_ctrl_c_ends_the_run_and_reports_what_is_finished(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken = 0

    def take_or_interrupt(*arguments: Any) -> Result:
        nonlocal taken
        taken += 1
        if taken == 4:
            raise KeyboardInterrupt
        return _figures(*arguments)

    monkeypatch.setattr(measure, "take_sample", take_or_interrupt)
    file = tmp_path / "file.json"
    assert main([*BRIEF, "--check", "--json", str(file)]) == 130
    document = json.loads(file.read_text())
    assert document["interrupted"] is True
    assert len(document["samples"]) == 3
    assert "interrupted after 3 samples" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_real_ctrl_c_leaves_no_worker_and_no_server_behind(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    only = ["--only", "redis/threads/2x1", "--only", OURS, "--rounds", "1000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fleet", *only, "--json", str(file)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while len(_descendants(process.pid)) < 3:  # the server and two workers, at the least
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    others = _descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of them
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert json.loads(file.read_text())["interrupted"] is True
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in others):
        assert time.monotonic() < until, others
        time.sleep(0.05)
    assert not list(tmp_path.glob("redis-*"))


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *_descendants(child)]
    return found


def test_no_worker_outlives_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "BARS", [_bar(1e6)])
    before = set(multiprocessing.active_children())
    assert main([*BRIEF, "--quick"]) == 0
    assert set(multiprocessing.active_children()) <= before


def test_the_report_and_the_charts_are_written(tmp_path: Path) -> None:
    cells = [cell for cell in CELLS if cell.backend in {"file", "etcd"}]
    samples = [
        Sample(0, cell.id, peer.name, "timed", _figures(None, None, peer, cell, 0.0).figures)
        for cell in cells
        for peer in all_peers()
        if cell.host in peer.hosts
    ]
    samples.append(Sample(0, cells[0].id, THEIRS, "timed", failure="it did not end"))
    peers = [replace(peer, missing="gone") if peer.name == THEIRS else peer for peer in all_peers()]
    verdicts = judge(samples, BARS)
    arguments = ("python -m benchmarks.fleet", {"Python": "3"}, peers, {"etcd": "no server"})
    write_report(tmp_path, *arguments, samples, verdicts, interrupted=True)
    text = (tmp_path / "RESULTS.md").read_text()
    for cell in cells:
        assert f"### {cell.id}\n" in text
        assert cell.about in text
    for sentence in (
        "Written by `python -m benchmarks.fleet`.",
        "**Interrupted: these are the samples that were finished.**",
        "etcd is left out: no server.",
        f"{THEIRS} is left out: gone.",
        f"{THEIRS} in {cells[0].id}: it did not end.",
    ):
        assert sentence in text
    assert text.index("**missed**") < text.index("| reached |\n")
    names = {f"fleet-{name}" for name in ("uncontended", "throughput", "waits", "requests")}
    pictures = list((tmp_path / "charts").iterdir())
    assert {picture.name for picture in pictures} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }
    for picture in pictures:
        assert picture.stat().st_size > 5000
        if picture.suffix == ".png":
            assert f"](charts/{picture.name})" in text
        else:
            assert ET.parse(picture).getroot().tag.endswith("svg")


def test_it_runs_as_a_module() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.fleet", *BRIEF, "--quick", "--json", "-"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["samples"]


def test_outside_of_the_repository_it_says_where_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tests", None)
    for name in [name for name in sys.modules if name.startswith("tests.backends")]:
        monkeypatch.delitem(sys.modules, name)
    with servers.Servers({"redis"}) as missing:
        assert "run this in the root of the repository" in missing.missing["redis"]
