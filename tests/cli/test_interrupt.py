"""Ctrl-C while the demo runs, delivered at a moment that the display picks."""

from __future__ import annotations

import io
import json
import signal
import threading
from typing import Any

import pytest

from backofflock.cli import main
from backofflock.cli.contest import Contest
from backofflock.cli.demo import run_systems
from backofflock.cli.display import JsonDisplay
from backofflock.cli.settings import Settings
from backofflock.cli.systems import System, select


class Interrupting(JsonDisplay):
    """Sends Ctrl-C while the second system runs."""

    def __init__(self, stream: io.StringIO, times: int) -> None:
        super().__init__(stream)
        self.times = times
        self.number = 0
        self.closed = False

    def start(self, number: int, system: System) -> None:
        self.number = number

    def tick(self, contest: Contest) -> None:
        if self.number == 2:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)

    def close(self) -> None:
        self.closed = True


FIRST_SHORT_THEN_LONG = Settings(rounds=1, hold=0.0, scale=0.001)


def _interrupted(times: int) -> tuple[int, dict[str, Any]]:
    stream = io.StringIO()
    before = set(threading.enumerate())
    display = Interrupting(stream, times)

    def contest_of(system: System, settings: Settings) -> Contest:
        if display.number == 2:
            settings = Settings(rounds=9, hold=60.0, scale=0.001)
        return Contest(system, settings)

    try:
        status = run_systems(
            select(["mutex", "spin", "linear"]), FIRST_SHORT_THEN_LONG, display, contest_of
        )
    finally:
        assert set(threading.enumerate()) == before
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert display.closed
    return status, json.loads(stream.getvalue())


def test_ctrl_c_ends_the_demo_and_shows_what_was_finished() -> None:
    status, document = _interrupted(times=1)
    assert status == 130
    assert document["interrupted"] is True
    assert [system["name"] for system in document["systems"]] == ["mutex"]


def test_a_second_ctrl_c_is_not_held_back() -> None:
    with pytest.raises(KeyboardInterrupt):
        _interrupted(times=2)


class ImpatientUser(io.StringIO):
    """A stream whose reader presses Ctrl-C twice on seeing the second system."""

    def write(self, text: str) -> int:
        if text.startswith("[2/2] "):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return super().write(text)


def test_a_second_ctrl_c_ends_the_command_with_the_same_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = ImpatientUser()
    monkeypatch.setattr("sys.stdout", stream)
    before = set(threading.enumerate())
    quick = ["--rounds", "1", "--hold", "0", "--scale", "0.001"]
    assert main(["demo", "--only", "mutex", "--only", "spin", *quick]) == 130
    assert "[1/2] mutex" in stream.getvalue()
    assert set(threading.enumerate()) == before


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    stream = io.StringIO()
    display = Interrupting(stream, times=1)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = run_systems(select(["mutex", "spin"]), FIRST_SHORT_THEN_LONG, display)
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 0
    assert json.loads(stream.getvalue())["interrupted"] is False


def test_the_demo_can_be_run_from_another_thread() -> None:
    statuses: list[int] = []
    display = JsonDisplay(io.StringIO())

    def elsewhere() -> None:
        statuses.append(run_systems(select(["mutex"]), FIRST_SHORT_THEN_LONG, display))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(30.0)
    assert statuses == [0]
