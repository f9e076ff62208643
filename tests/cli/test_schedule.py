"""``backofflock schedule``: figures to the digit, bands that a seed decides, and what is drawn."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from itertools import accumulate, pairwise
from random import Random
from typing import Any

import pytest
from rich.console import Console

import backofflock
from backofflock import Schedule
from backofflock.cli import main
from backofflock.cli.curves import DRAWS, Band, Curve, curve_of
from backofflock.cli.schedule_table import STYLES, figures, legend
from backofflock.cli.text_chart import Line, draw

from .running import environment

ISSUE = ["linear:initial=0.3", "quadratic:initial=0.3", "exponential:initial=0.01,cap=1"]
LINEAR = ["0.0", "0.3", "0.6", "0.9", "1.2", "1.5", "1.8", "2.1", "2.4", "2.7", "3.0"]
QUADRATIC = ["0.0", "0.3", "1.2", "2.7", "4.8", "7.5", "10.8", "14.7", "19.2", "24.3", "30.0"]
SLEPT = ["0.0", "0.3", "0.9", "1.8", "3.0", "4.5", "6.3", "8.4", "10.8", "13.5", "16.5"]

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command to a good end; return what it printed."""

    def command(*arguments: str) -> str:
        assert main(["schedule", *arguments]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return command


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of each table in plain `text`, without the number of the retry."""
    found = re.findall(r"^ *retry .*\n *─+\n((?: *\d.*\n)+)", text, re.MULTILINE)
    return [[line.split()[1:] for line in table.splitlines()] for table in found]


# -- figures ---------------------------------------------------------------------------------------


def test_the_examples_of_the_design_come_out_to_the_digit(run: Run) -> None:
    delays, waits = tables(run(*ISSUE))
    assert [row[0] for row in delays] == LINEAR
    assert [row[1] for row in delays] == QUADRATIC
    assert [row[0] for row in waits] == SLEPT
    assert all(len(row) == 5 for row in delays + waits)


def test_jitter_is_a_band_and_the_seed_decides_it(run: Run) -> None:
    one, again, other = (run(ISSUE[2], "--seed", seed) for seed in ("1", "1", "2"))
    assert one == again != other
    for low, middle, high in (map(float, row) for row in tables(one)[0]):
        assert low < middle < high


def band_of(numbers: list[float]) -> Band:
    """Count off the percentiles: so many of them are smaller."""
    ordered = sorted(numbers)
    return Band(*(ordered[round((DRAWS - 1) * part)] for part in (0.05, 0.5, 0.95)))


@pytest.mark.parametrize("text", [ISSUE[2], "linear:initial=0.2..1,cap=3", "decorrelated:take=4"])
def test_the_percentiles_are_those_of_the_draws(text: str) -> None:
    schedule, rng = Schedule.parse(text), Random(7)
    runs = [list(schedule.take(5).delays(rng)) for _ in range(DRAWS)]
    curve = curve_of(schedule, 5, seed=7)
    assert curve.random
    assert list(curve.delays) == [band_of(list(column)) for column in zip(*runs, strict=True)]
    slept = zip(*(accumulate(each) for each in runs), strict=True)
    assert list(curve.waits) == [band_of(list(column)) for column in slept]


def test_a_range_is_drawn_once_so_that_a_wait_adds_up_the_same_draw() -> None:
    curve = curve_of(Schedule.parse("linear:initial=0..1"), 4, seed=3)
    assert curve.random
    for unit, delay, wait in zip(curve.delays[1], curve.delays[3], curve.waits[3], strict=True):
        assert delay == pytest.approx(3 * unit)
        assert wait == pytest.approx(6 * unit)  # independent draws would lie closer together


def test_full_jitter_is_uniform_below_the_ceiling() -> None:
    band = curve_of(Schedule.parse("constant:initial=1,jitter=1"), 1, seed=1).delays[0]
    assert band == pytest.approx((0.05, 0.5, 0.95), abs=0.04)


def test_a_schedule_does_not_change_what_is_beside_it(run: Run) -> None:
    def bands(*texts: str) -> Any:
        return json.loads(run("--json", *texts))["schedules"][-1]

    assert bands(ISSUE[2]) == bands("decorrelated", ISSUE[2])


@pytest.mark.parametrize(
    ("text", "retries", "gives_up", "goes_on", "shown"),
    [
        ("linear:initial=1", 3, False, True, 3),
        ("linear:initial=1,take=2", 3, True, False, 2),
        ("linear:initial=1,take=3", 3, True, False, 3),
        ("linear:initial=1,take=4", 3, True, True, 3),
        ("sequence:seconds=(1,2),jitter=1", 3, True, False, 2),
        ("sequence:seconds=()", 3, True, False, 0),
        ("spin:take=1 then spin", 3, False, True, 3),
    ],
)
def test_where_a_schedule_ends(
    text: str, retries: int, gives_up: bool, goes_on: bool, shown: int
) -> None:
    curve = curve_of(Schedule.parse(text), retries, seed=1)
    assert (curve.gives_up, curve.goes_on) == (gives_up, goes_on)
    assert curve.ends_here == (gives_up and not goes_on)
    assert len(curve.delays) == len(curve.waits) == shown


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("linear:initial=1", ""),
        ("linear:initial=1,take=2", " (gives up after 2 retries, 1 s)"),
        ("linear:initial=1,take=1", " (gives up after 1 retry, 0 s)"),
        ("linear:initial=1,take=9", " (gives up after more than 3 retries)"),
        ("sequence:seconds=()", " (gives up after the first try)"),
    ],
)
def test_the_legend_says_when_it_gives_up(text: str, end: str) -> None:
    (line,) = legend([curve_of(Schedule.parse(text), 3, seed=1)])
    assert line.plain == f"A  {text}{end}"


def test_the_end_has_a_row_and_a_mark(run: Run) -> None:
    out = run("constant:initial=1,take=2", "constant:initial=2", "-n", "4")
    assert tables(out)[0] == [["1", "2"], ["1", "2"], ["ends", "2"], ["2"]]
    assert out.count("✕") == 2


# -- how it is drawn -------------------------------------------------------------------------------


def line(*times: float, ends: bool = False, letter: str = "A") -> Line:
    return Line(letter, "cyan", [Band(time, time, time) for time in times], ends)


def drawn(*lines: Line, width: int = 40, log: bool = False, ascii_only: bool = False) -> list[str]:
    return [row.plain for row in draw(lines, width, log=log, ascii_only=ascii_only)]


def test_a_chart_has_the_smallest_below_and_the_largest_above() -> None:
    rows = drawn(line(0.0, 1.0, 2.0))
    assert [row.find("A") for row in rows if "A" in row] == [34, 22, 10]
    assert "A" in rows[0]
    assert rows[0].startswith("  2 │")
    assert "A" in rows[13]
    assert rows[13].startswith("  0 │")
    assert rows[15].split() == ["0", "1", "2"]


def test_a_band_is_a_bar_with_the_median_on_it() -> None:
    rows = drawn(Line("A", "cyan", [Band(0.0, 1.0, 2.0)], False))
    column = rows[0].rindex("│")
    assert [row[column] for row in rows[:14]].count("│") == 13
    assert rows[6][column] == "A" or rows[7][column] == "A"


def test_on_a_logarithmic_axis_powers_of_ten_are_equally_far_apart_and_0_is_below() -> None:
    rows = drawn(line(0.0, 0.01, 0.1, 1.0), log=True)
    heights = [number for number, row in enumerate(rows) if "A" in row]
    assert heights[-1] == 13
    assert [later - earlier for earlier, later in pairwise(heights[:-1])] in ([5, 6], [6, 5])
    assert [rows[height].split()[0] for height in heights] == ["1", "0.1", "0.01", "0"]


def test_schedules_stand_side_by_side_where_there_is_room() -> None:
    same = [line(1.0, 1.0, letter=letter) for letter in "ABC"]
    assert "ABC" in drawn(*same, width=40)[0]
    crowded = drawn(*(line(*[1.0] * 30, letter=letter) for letter in "ABC"), width=40)
    assert set("AB") & set("".join(crowded)) == set()


@pytest.mark.parametrize("width", [10, 20, 40, 79, 200])
@pytest.mark.parametrize("retries", [1, 3, 11, 1000])
@pytest.mark.parametrize("log", [False, True])
def test_a_chart_is_no_wider_than_the_terminal(width: int, retries: int, log: bool) -> None:
    wide = line(*(0.5 * k * k for k in range(retries)), ends=True)
    rows = drawn(wide, line(letter="B", ends=True), width=width, log=log)
    assert len(rows) == 16
    assert max(map(len, rows)) <= max(width, 20)


@pytest.mark.parametrize("most", [1e-9, 0.0, 5e-324, 1.0, 7e8, 1e9, 1e12])
@pytest.mark.parametrize("log", [False, True])
def test_times_of_any_size_can_be_drawn(most: float, log: bool) -> None:
    assert sum(row.count("A") for row in drawn(line(0.0, most), log=log)) == 2


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_tables_stand_below_each_other_where_the_terminal_is_narrow(width: int) -> None:
    curves: list[Curve] = [curve_of(Schedule.parse(text), 3, seed=1) for text in ISSUE * 2]
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    for table in figures(curves, [curve.delays for curve in curves], console):
        console.print(table)
    assert max(len(row.rstrip()) for row in out.getvalue().splitlines()) <= width
    heads = re.findall(r"^ *retry (.*)$", out.getvalue(), re.MULTILINE)
    assert len(heads) == {40: 4, 60: 2, 80: 2, 120: 1}[width]
    letters = re.findall(r"[A-H](?: \d+ %)?", " ".join(heads))
    group = "{} {} {} 5 % {} 50 % {} 95 %".format
    # None is lost, none is cut.
    assert " ".join(letters) == f"{group(*'ABCCC')} {group(*'DEFFF')}"


def process(*arguments: str, **env: str) -> tuple[int, bytes, str]:
    done = subprocess.run(
        [sys.executable, "-m", "backofflock", "schedule", *arguments],
        env=environment(**env),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def test_where_only_ascii_can_be_printed_only_ascii_is() -> None:
    status, out, err = process(*ISSUE, "spin:take=2", PYTHONIOENCODING="ascii", COLUMNS="300")
    assert (status, err) == (0, "")
    text = out.decode("ascii")
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text.replace(os.linesep, "\n"))
    assert re.search(r"^ *10 +3\.0 +30\.0 ", text, re.MULTILINE)
    assert re.search(r"^30 \|", text, re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_on_a_terminal_it_is_as_wide_as_that_and_in_colours() -> None:
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "backofflock", "schedule", "-n", "3", *ISSUE],
        env=environment(TERM="xterm-256color", COLUMNS="50", LINES="24"),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
    ) as running:
        os.close(theirs)
        out = b""
        try:
            while piece := os.read(ours, 4096):
                out += piece
        except OSError:  # Linux: nobody has it open any more
            pass
        os.close(ours)
        assert running.wait(60) == 0
    text = out.decode().replace("\r\n", "\n")
    assert "\x1b[36m" in text or "\x1b[1;36m" in text
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert 40 < max(map(len, plain.splitlines())) <= 50


# -- for machines ----------------------------------------------------------------------------------


def test_json_is_one_document(run: Run) -> None:
    document: dict[str, Any] = json.loads(
        run("--json", "-n", "3", "--seed", "5", "Linear:initial=1,take=2", ISSUE[2])
    )
    assert set(document) == {"version", "settings", "schedules"}
    assert document["version"] == backofflock.__version__
    assert document["settings"] == {"retries": 3, "seed": 5, "draws": DRAWS}
    linear, exponential = document["schedules"]
    assert linear == {
        "schedule": "linear:initial=1,take=2",
        "random": False,
        "gives_up": True,
        "goes_on": False,
        "delay": {"p5": [0.0, 1.0], "p50": [0.0, 1.0], "p95": [0.0, 1.0]},
        "waited": {"p5": [0.0, 1.0], "p50": [0.0, 1.0], "p95": [0.0, 1.0]},
    }
    assert exponential["random"]
    assert [len(times) for times in exponential["waited"].values()] == [3, 3, 3]


# -- arguments -------------------------------------------------------------------------------------

BAD = [
    ([], "a schedule is missing: backofflock schedule linear:initial=0.3"),
    (["liner:initial=1"], "there is no 'liner' (did you mean 'linear'?); there are spin, "),
    (["linear:intial=1"], "linear has no field 'intial' (did you mean 'initial'?); it may have"),
    (["spin", "-n", "0"], "--retries must be a whole number from 1 to 1000, not 0"),
    (["spin", "--retries", "1001"], "--retries must be a whole number from 1 to 1000, not 1001"),
    (["spin", "-n", "x"], "'--retries'"),
    (["spin", "--seed", "x"], "'--seed'"),
    (["spin"] * 9, "at most 8 schedules can be told apart, not 9"),
    (["spin", "--frobnicate"], "--frobnicate"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_a_bad_value_gets_one_sentence_and_status_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("backofflock: ")
    assert sentence in err


def test_as_many_schedules_as_there_are_colours(run: Run) -> None:
    assert "H  spin" in run("-n", "1", *["spin"] * len(STYLES))


def test_ctrl_c_is_status_130_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Impatient(io.StringIO):
        def write(self, text: str) -> int:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdout", Impatient())
    assert main(["schedule", "spin"]) == 130
    assert capsys.readouterr().err == ""


def test_the_help_has_examples_that_run_and_names_every_family(
    run: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = run("--help")
    examples = re.findall(r"^ +backofflock schedule (.*)$", told, re.MULTILINE)
    assert len(examples) >= 5
    for example in examples:
        run(*shlex.split(example.partition(" > ")[0]))
    fields = {"delay", "waited", "random", "gives_up", "goes_on", "p5", "p50", "p95", "draws"}
    families = "constant linear quadratic fibonacci polynomial exponential decorrelated spin"
    assert {*fields, *families.split(), "sequence"} <= set(re.findall(r"\w+", told))


@pytest.mark.parametrize(
    "text", ["constant:initial=0.001,jitter=0.5", "spin:take=2 then linear:initial=0..0.001"]
)
def test_the_same_text_works_for_the_demo(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--rounds", "1", "--hold", "0.001", "--scale", "0.01", "--json"]
    assert main(["demo", "--schedule", text, "--schedule", "spin", *quick]) == 0
    one, two = json.loads(capsys.readouterr().out)["systems"]
    assert (one["name"], one["form"]) == ("schedule-1", text)
    assert (two["name"], two["form"]) == ("schedule-2", "spin")
    assert one["acquisitions"] + two["acquisitions"] == 12
    assert main(["demo", "--list", "--only", "mutex", "--schedule", text]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in listed] == ["mutex", "schedule-1"]


def test_a_text_that_is_no_schedule_gets_a_sentence_from_the_demo_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo", "--schedule", "liner"]) == 2
    said = "backofflock: --schedule: schedule 'liner': there is no 'liner' (did you mean 'linear'?)"
    assert capsys.readouterr().err.startswith(said)
