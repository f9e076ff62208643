"""The moving display, on consoles of several sizes and on a real terminal."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time

import pytest

from backofflock.cli.contest import Contest
from backofflock.cli.demo import run_systems
from backofflock.cli.live import LiveDisplay
from backofflock.cli.settings import Settings
from backofflock.cli.systems import SYSTEMS, select

from .settled import settled

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture(params=[60, 80, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Make consoles this wide, and 16 lines high."""
    monkeypatch.setenv("LINES", "16")
    monkeypatch.setenv("TERM", "xterm")
    columns: int = request.param
    monkeypatch.setenv("COLUMNS", str(columns))
    return columns


def plain(text: str) -> str:
    """Return `text` without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_it_shows_who_holds_who_waits_and_how_far_it_is(width: int) -> None:
    stream = io.StringIO()
    (spin, system) = select(["spin", "exponential"])
    display = LiveDisplay(stream)
    display.begin(Settings(rounds=4), [spin, system])
    display.start(2, system)
    with settled(system) as contest:
        display.tick(contest)
    display.close()
    out = stream.getvalue()
    text = plain(out)
    last = text.rpartition("contender ")[2]
    rows = re.findall(r"(?:thread|task)-\d +(holds|waits) +\d+\.\d\d +(\d+)  0 of 4", last)
    assert sorted(state for state, _ in rows) == ["holds", *["waits"] * 5]
    assert min(int(failed) for state, failed in rows if state == "waits") >= 2
    assert " 50 %  system 2 of 2 " in text
    assert f"{system.name}: {system.form}\n" in text.replace("\r", "")
    assert out.count(HIDE) == 1
    assert out.rindex(SHOW) > out.index(HIDE)
    assert max(map(len, text.replace("\r", "\n").split("\n"))) <= width


def test_many_contenders_are_cut_to_the_height_of_the_terminal(width: int) -> None:
    stream = io.StringIO()
    settings = Settings(threads=20, tasks=10, rounds=1, hold=0.0, scale=0.01)
    assert run_systems(select(["backofflock"]), settings, LiveDisplay(stream)) == 0
    drawn = stream.getvalue()
    assert plain(drawn).count("and 22 more") == plain(drawn).count("contender ") > 0
    # To be drawn over, a picture must not have scrolled out of sight.
    upwards = re.findall(r"(?:\r|\x1b\[2K|\x1b\[1A)+", drawn)
    assert 8 < max(moves.count("\x1b[1A") for moves in upwards) < 16


def test_those_who_gave_up_are_shown() -> None:
    stream = io.StringIO()
    display = LiveDisplay(stream)
    (system,) = select(["linear"])
    settings = Settings(threads=1, tasks=0, rounds=3)
    contest = Contest(system, settings)
    (me,) = contest.contenders
    for _ in range(2):
        me.ask()
        me.give_up(attempts=4)
    display.begin(settings, [system])
    display.start(1, system)
    display.tick(contest)
    display.close()
    assert re.search(r"thread-1 +rests .* 2 of 3, 2 gave up", plain(stream.getvalue()))


def test_status_lines_stay_above_the_moving_part() -> None:
    stream = io.StringIO()
    settings = Settings(rounds=1, hold=0.02, scale=0.02)
    assert run_systems(select(["status"]), settings, LiveDisplay(stream)) == 0
    text = plain(stream.getvalue()).replace("\r", "\n")
    lines = re.findall(r"^  \S+ has waited \d", text, re.MULTILINE)
    attempts = re.search(r"6 acquisitions in .*, (\d+) attempts", text)
    assert attempts
    assert len(lines) == int(attempts[1]) - 6


def test_an_interruption_is_told_below_the_moving_part() -> None:
    stream = io.StringIO()
    display = LiveDisplay(stream)
    display.begin(Settings(), SYSTEMS)
    display.end([], interrupted=True)
    text = plain(stream.getvalue())
    assert text.endswith(f"interrupted: 0 of {len(SYSTEMS)} systems finished\n")
    assert "system " not in text.replace("systems ", "")
    assert stream.getvalue().rindex(SHOW) < stream.getvalue().index("interrupted")


def test_the_table_fits_and_has_the_locks_where_there_is_room(width: int) -> None:
    stream = io.StringIO()
    settings = Settings(rounds=1, hold=0.0, scale=0.001)
    assert run_systems(SYSTEMS, settings, LiveDisplay(stream)) == 0
    text = plain(stream.getvalue())
    table = text[text.rindex(" system ") :].splitlines()
    assert max(map(len, table)) <= width
    assert any("Constant((0.0, 1.0))" in line for line in table) == (width == 120)
    if width >= 80:
        heading = " ".join(" ".join(table[:2]).split())
        for word in ("got", "gave", "attempts", "longest", "wanted", "CPU", "late ms"):
            assert word in heading


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
@pytest.mark.parametrize(("term", "moving"), [("xterm-256color", True), ("dumb", False)])
def test_on_a_real_terminal_it_moves_unless_the_terminal_cannot(term: str, moving: bool) -> None:
    controller, terminal = os.openpty()
    command = [sys.executable, "-m", "backofflock", "demo", "--only", "linear"]
    child = subprocess.Popen(
        [*command, "--rounds", "1", "--hold", "0.001", "--scale", "0.01"],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": term, "COLUMNS": "80", "LINES": "24"},
    )
    os.close(terminal)
    out = b""
    until = time.monotonic() + 60.0
    try:
        while time.monotonic() < until:
            try:
                part = os.read(controller, 65536)
            except OSError:  # how Linux reports that the other end is closed
                break
            if not part:
                break
            out += part
        _, err = child.communicate(timeout=30.0)
    finally:
        child.kill()
        os.close(controller)
    assert (child.returncode, err) == (0, b"")
    assert (HIDE.encode() in out) == moving
    assert (SHOW.encode() in out) == moving
    assert (b"\x1b" in out) == moving
    assert (b"[1/1] linear" in out) != moving
    assert b"linear" in out.rsplit(b" system ", 1)[1]
