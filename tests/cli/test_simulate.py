"""``backofflock simulate``: the table, the document, the pictures, and wrong values."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from backofflock import Constant, Schedule
from backofflock.cli import main, simulate
from backofflock.schedules import Rng

QUICK = ["--seconds", "1", "--runs", "1"]


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["simulate", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    read: dict[str, Any] = json.loads(out)
    return read


def test_schedules_are_compared_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    named = ["exponential:initial=0.01,cap=0.1", "linear:initial=0.5"]
    assert main(["simulate", *named, "-n", "20", *QUICK]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("20 contenders, hold 0.01 s, think exponential:0.01 s, 1 s, nobody")
    assert out.index("exponential: initial=0.01,") < out.index("linear: initial=0.5")
    assert max(map(len, out.splitlines())) <= 80
    assert "cmds" not in out


def test_a_server_has_a_column_of_requests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "spin", "-n", "3", "--remote", "--processes", "2", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "cmds/s: requests that reach the server" in " ".join(out.split())
    assert "server of 20,000 requests/s" in " ".join(out.split())


def test_without_schedules_some_are_compared_that_fit_the_hold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = document(capsys, "--hold", "exponential:0.2", *QUICK)["schedules"]
    assert [each["schedule"] for each in found][:2] == [
        "exponential:initial=0.2,cap=2",
        "exponential:initial=0.2,cap=2,jitter=0.5",
    ]
    assert len(found) == 6


def test_the_document_has_what_the_help_says(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(
        capsys, "constant:initial=0.1", "-n", "4", "--remote", "--rtt", "uniform:0..0.01", "--lost",
        "0.01", "--seed", "5", *QUICK,
    )  # fmt: skip
    assert main(["simulate", "--help"]) == 0
    told = capsys.readouterr().out.partition("The JSON document")[2]
    for name in [*found, *found["schedules"][0]]:
        assert re.search(rf"\b{name}\b", told), name
    assert (found["seed"], found["runs"], found["interrupted"]) == (5, 1, False)
    assert found["scenario"]["hold"] == "0.01"
    assert found["scenario"]["arrival"] == "burst:0.001"
    assert found["scenario"]["remote"]["rtt"] == "uniform:0..0.01"


def test_a_schedule_gets_the_same_figures_in_any_company(
    capsys: pytest.CaptureFixture[str],
) -> None:
    alone = document(capsys, "linear:initial=0..0.1", *QUICK)["schedules"]
    among = document(capsys, "spin", "linear:initial=0..0.1", "-n", "64", *QUICK)["schedules"]
    assert alone == among[1:]


def test_with_wake_the_queue_is_fair(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "constant:initial=0.1", "--wake", "--think", "0", "--seconds", "20")
    assert found["scenario"]["fair_after"] == 0.0
    assert found["schedules"][0]["fairness"] > 0.999


def test_the_burst_of_the_published_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(
        capsys, "exponential:initial=0.1,cap=10", "-n", "64", "--hold", "1", "--rounds", "1",
        "--runs", "30", "--late", "exponential:0.02",
    )  # fmt: skip
    assert found["schedules"][0]["utilisation"] == pytest.approx(0.78, abs=0.03)


# -- suggestions -----------------------------------------------------------------------------------


def test_what_is_suggested_is_worth_a_look(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--suggest", "-n", "30", "--hold", "0.02", "--seconds", "10")
    found = document(capsys, *arguments)["schedules"]
    assert 3 <= len(found) <= 6
    used = [each["utilisation"] for each in found]
    tries = [each["tries"] for each in found]
    assert used == sorted(used, reverse=True)
    assert tries == sorted(tries, reverse=True)  # none is beaten in both
    whys = [each["why"] for each in found]
    assert whys[-1] == "tries least"
    (first,) = [each for each in found if each["why"] == "begin with this"]
    assert first["utilisation"] >= 0.95 * used[0]
    assert main(["simulate", *arguments]) == 0
    assert "a cap near ten holds, is 0.2 s here" in " ".join(capsys.readouterr().out.split())


def test_your_own_schedule_is_shown_beside_the_suggestions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lazy = "constant:initial=0.9,jitter=0.1"
    found = document(capsys, lazy, "--suggest", "-n", "10", "--seconds", "5")["schedules"]
    (mine,) = [each for each in found if each["schedule"] == lazy]
    assert mine["why"].startswith("yours")


# -- pictures --------------------------------------------------------------------------------------


def test_the_comparison_and_the_gantt_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chart, gantt = tmp_path / "chart.PNG", tmp_path / "gantt.png"
    arguments = ["--remote", "-n", "5", "--output", str(chart), "--gantt", str(gantt), *QUICK]
    assert main(["simulate", *arguments]) == 0
    for file in (chart, gantt):
        assert file.read_bytes().startswith(b"\x89PNG")


def test_the_same_picture_is_the_same_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = []
    for name in ("a.svg", "b.svg"):
        file = tmp_path / name
        assert main(["simulate", "spin", "-n", "3", "--gantt", str(file), *QUICK]) == 0
        drawn.append(file.read_text("utf-8"))
    assert drawn[0] == drawn[1]
    assert drawn[0].startswith("<?xml")


def test_the_gantt_in_text_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    named = ["constant:initial=0.03", "spin"]
    assert main(["simulate", *named, "-n", "3", "--gantt", "-", "--seconds", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("constant:initial=0.03")
    rows = lines[start + 1 : start + 4]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert all(re.fullmatch(r" +\d [#|. ]+", row) and len(row) <= 80 for row in rows)
    held = [[column for column, sign in enumerate(row) if sign == "#"] for row in rows]
    assert all(held)
    assert lines[start + 4].endswith("0.5 s")


def test_the_gantt_ends_where_there_would_be_nothing_but_tries(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["simulate", "constant:initial=0.01", "-n", "4", "--gantt", "-"]) == 0
    picture = capsys.readouterr().out.partition("\nconstant:initial=0.01\n")[2]
    last = re.search(r"0 +([0-9.]+) s$", picture, re.MULTILINE)
    assert last is not None
    assert 0.3 < float(last[1]) < 0.6  # 30 tries 0.01 s apart, and some holds


def test_a_picture_that_cannot_be_written_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "chart.png"
    taken.mkdir()
    assert main(["simulate", "spin", "-n", "2", "--output", str(taken), *QUICK]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_without_matplotlib_a_sentence_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "backofflock.cli.simulate_chart", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["simulate", "--output", str(tmp_path / "chart.png"), *QUICK]) == 2
    err = capsys.readouterr().err
    assert 'pip install "backofflock[plot]"' in err
    assert main(["simulate", "spin", "-n", "2", "--gantt", "-", *QUICK]) == 0


# -- Ctrl-C ----------------------------------------------------------------------------------------


class Interrupting(Schedule):
    """Has Ctrl-C pressed once somebody waits."""

    @property
    def gives_up(self) -> bool:
        return False

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        signal.raise_signal(signal.SIGINT)
        return repeat(1.0)


@pytest.mark.parametrize("form", ["--json", "--seed=1"])
def test_ctrl_c_shows_what_was_finished(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [Constant(0.1), Interrupting(), Constant(0.2)]
    monkeypatch.setattr(simulate, "default_schedules", lambda _hold: chosen)
    assert main(["simulate", form, *QUICK]) == 130
    out, err = capsys.readouterr()
    assert err == ""
    if form == "--json":
        read = json.loads(out)
        assert read["interrupted"] is True
        assert [each["schedule"] for each in read["schedules"]] == ["constant:initial=0.1"]
    else:
        assert "constant: initial=0.1" in out
        assert out.endswith("interrupted: 1 of 3 schedules finished\n")


# -- wrong values, help ----------------------------------------------------------------------------

BAD = [
    (["liner"], "did you mean 'linear'?"),
    (["constant:initial=1,take=3"], "constant:initial=1,take=3 gives up"),
    (["-n", "0"], "--contenders must be a whole number from 1 to"),
    (["-n", "many"], "'--contenders'"),
    (["--hold", "long"], "--hold: 'long' is no time"),
    (["--hold", "exponental:1"], "did you mean 'exponential'?"),
    (["--think", "uniform:1"], "--think: 'uniform:1' is no time"),
    (["--late", "-1"], "--late: '-1' is no time"),
    (["--arrival", "burst:x"], "--arrival: 'burst:x' is no arrival"),
    (["--seconds", "0"], "--seconds must be a number of seconds above 0"),
    (["--seconds", "nan"], "--seconds must be a number of seconds above 0"),
    (["--rounds", "0"], "--rounds must be a whole number from 1"),
    (["--runs", "0"], "--runs must be a whole number from 1"),
    (["--fair-after", "-1"], "--fair-after must be seconds of 0 or more"),
    (["--rtt", "0.1"], "--rtt is of a lock on a server: add --remote"),
    (["--request-timeout", "3"], "--request-timeout is of a lock on a server: add --remote"),
    (["--remote", "--rtt", "slow"], "--rtt: 'slow' is no time"),
    (["--remote", "--lost", "1"], "--lost must be a probability from 0 to below 1"),
    (["--remote", "--capacity", "0"], "--capacity must be a number of requests a second above 0"),
    (["--remote", "-n", "2", "--processes", "3"], "--processes must be at most the contenders, 2"),
    (["--remote", "--wake"], "--wake and --fair-after are for a lock of one process"),
    (["--output", "chart.gif"], "--output must be a file that ends in .png or .svg"),
    (["--output", "no/such/chart.png"], "--output: there is no directory 'no/such'"),
    (["--gantt", "gantt"], "--gantt must be a file that ends in .png or .svg, or - for text"),
    (["-n", "101", "--gantt", "-"], "--gantt draws a line for each contender, at most 100"),
    (["--gantt", "-", "--json"], "--gantt - and --json exclude each other"),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD]
)
def test_a_bad_value_gets_one_sentence_and_status_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("backofflock: ")
    assert sentence in err
    assert err.count("\n") == 1


def test_the_examples_of_the_help_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "--help"]) == 0
    examples = re.findall(r"^ +backofflock (simulate.*)$", capsys.readouterr().out, re.MULTILINE)
    assert len(examples) >= 6
    for example in examples:
        assert main([*shlex.split(example), *QUICK]) == 0, example
