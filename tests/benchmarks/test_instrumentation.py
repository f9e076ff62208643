"""``python -m benchmarks.instrumentation``: it compares, and leaves nobody listening."""

from __future__ import annotations

import re

import pytest

from backofflock import BackoffLock, LockEvent, ThreadBackoffLock, instrument
from backofflock import _instrument as machinery
from benchmarks import instrumentation


def test_it_measures_each_case_on_both_faces(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(instrumentation, "BATCH", 3)
    assert instrumentation.main(["--rounds", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("CPython 3.")
    for face in "ThreadBackoffLock", "BackoffLock":
        assert f"\n{face}, an entry: median (quartiles), and beyond the first\n" in shown
    for case in instrumentation.CASES:
        rows = re.findall(
            rf"^  {re.escape(case)} +\d+ ns  \(\d+ to \d+\)(.*)$", shown, re.MULTILINE
        )
        assert len(rows) == 2, case
        assert all(bool(row) == (case != "out of reach of listeners") for row in rows)
    assert machinery._audience.members == ()


def test_a_lock_out_of_reach_is_one_that_nobody_is_told_of() -> None:
    told: list[LockEvent] = []
    with instrument(told.append):
        with instrumentation.ThreadOutOfReach() as taken:
            assert taken
        assert told == []
        with ThreadBackoffLock():
            pass
        assert len(told) == 1


def test_it_is_the_same_code_that_is_compared() -> None:
    for near, far in (
        (ThreadBackoffLock, instrumentation.ThreadOutOfReach),
        (BackoffLock, instrumentation.OutOfReach),
    ):
        own = set(vars(far)) - {"__module__", "__doc__", "__slots__", "_key"}
        assert {name for name in own if not name.startswith(("_abc_", "__abstract"))} <= {
            "__firstlineno__",
            "__static_attributes__",
        }
        assert far.__bases__ == (near,)


def test_a_library_that_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(instrumentation.CASES, "PrometheusListener", ("no_such_module", "Listener"))
    assert "PrometheusListener" not in instrumentation.listeners()
    assert "LoggingListener, level off" in instrumentation.listeners()


def test_it_takes_a_round_at_the_least(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        instrumentation.main(["--rounds", "0"])
    assert "--rounds must be at least 1" in capsys.readouterr().err
