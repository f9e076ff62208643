"""The mutants fit the source as it stands, and their runner tells a kill from all else."""

from __future__ import annotations

import ast
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from .__main__ import main, markdown, plain_table, summary
from .catalogue import MUTANTS
from .runner import (
    ROOT,
    Mutant,
    MutantError,
    Verdict,
    _judge,
    check,
    control,
    copy_of_the_project,
    run_tests,
    try_mutant,
)

PACKAGE = ROOT / "src" / "backofflock"
ALL = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)

FAST = next(mutant for mutant in MUTANTS if mutant.name == "key-can-be-doubled")
SURVIVOR = replace(
    FAST, name="a comment", old="KEY = None\n", new="KEY = None  # another comment\n"
)


@cache
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


# -- the catalogue ---------------------------------------------------------------------------------


@ALL
def test_a_mutant_fits_once_and_is_python(mutant: Mutant) -> None:
    source = (PACKAGE / mutant.file).read_text("utf-8")
    mutated = mutant.mutate(source)
    # A fault changes what is run, and not only what is read.
    assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(source))


@ALL
def test_the_tests_of_a_mutant_exist(mutant: Mutant) -> None:
    assert mutant.killers
    for killer in mutant.killers:
        path, _, name = killer.partition("::")
        assert name.partition("[")[0] in functions_of(ROOT / path), killer


def test_the_mutants_are_many_and_each_is_another() -> None:
    assert len(MUTANTS) >= 25
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
    files = {mutant.file for mutant in MUTANTS}
    assert {"_contention.py", "_face.py", "tasks.py", "threads.py", "schedules.py"} <= files


@pytest.mark.parametrize(
    ("old", "says"), [("no such text", "is 0 times in _key.py"), ("def ", r"is \d+ times")]
)
def test_a_text_that_does_not_fit_is_an_error(old: str, says: str) -> None:
    unfit = replace(FAST, old=old)
    for refuse in (try_mutant, lambda mutant: check([FAST, mutant])):
        with pytest.raises(MutantError, match=says):
            refuse(unfit)


def test_a_text_that_is_not_python_is_an_error() -> None:
    with pytest.raises(MutantError, match="is not Python"):
        try_mutant(replace(FAST, new="deque((KEY,"))


# -- the runner ------------------------------------------------------------------------------------


def test_a_fault_is_found_by_the_test_that_is_named() -> None:
    verdict = try_mutant(FAST)
    assert verdict.killed
    assert verdict.failed == "tests/test_key.py::test_a_key_cannot_be_doubled"
    assert not verdict.timed_out


def test_what_changes_nothing_survives() -> None:
    verdict = try_mutant(SURVIVOR)
    assert not verdict.killed
    assert verdict.passed == FAST.killers


def test_a_package_that_cannot_be_imported_is_no_kill() -> None:
    with pytest.raises(MutantError, match="(?s)did not run.*ImportError: broken"):
        try_mutant(replace(FAST, old="KEY = None\n", new="raise ImportError('broken')\n"))


def test_tests_that_cannot_be_imported_are_no_kill() -> None:
    with copy_of_the_project() as root:
        (root / "tests" / "test_key.py").write_text("raise ImportError('broken')\n")
        with pytest.raises(MutantError, match="(?s)did not run.*ImportError: broken"):
            run_tests(root, ["tests/test_key.py"])


def test_a_hang_is_a_kill_by_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.mutants.runner.TEST_LIMIT", 1)
    hangs = replace(FAST, old="deque((KEY,), maxlen=1)", new="__import__('time').sleep(60)")
    verdict = try_mutant(hangs)
    assert verdict.failed == FAST.killers[0]
    assert verdict.timed_out


STARTED = {"event": "started", "test": "tests/a.py::test_b"}
FAILED = {"event": "failed", "test": "tests/a.py::test_b", "timed_out": False}
PASSED = {"event": "passed", "test": "tests/a.py::test_b"}
BROKEN = {"event": "broken", "test": "tests/a.py"}


def test_a_run_that_had_to_be_ended_is_a_kill_by_the_test_that_ran() -> None:
    verdict = _judge(None, [STARTED, PASSED, {**STARTED, "test": "tests/a.py::test_c"}], 90.0, "")
    assert verdict == Verdict("tests/a.py::test_c", 90.0, True, ("tests/a.py::test_b",))


@pytest.mark.parametrize(
    ("status", "events"),
    [
        pytest.param(None, [], id="it-hangs-before-any-test"),
        pytest.param(0, [STARTED], id="all-are-skipped"),
        pytest.param(1, [BROKEN], id="a-module-is-broken"),
        pytest.param(1, [STARTED, FAILED, BROKEN], id="another-module-is-broken"),
        pytest.param(1, [], id="the-plugin-is-broken"),
        pytest.param(2, [STARTED, FAILED], id="interrupted"),
        pytest.param(3, [STARTED], id="pytest-fails"),
        pytest.param(4, [], id="no-such-test"),
        pytest.param(5, [], id="nothing-is-collected"),
        pytest.param(-11, [STARTED], id="the-interpreter-crashes"),
    ],
)
def test_what_is_neither_a_kill_nor_a_survivor(
    status: int | None, events: list[dict[str, object]]
) -> None:
    with pytest.raises(MutantError, match=rf"did not run \(status {status}\):\nwhat it said"):
        _judge(status, events, 1.0, "what it said")


def test_the_copy_is_tested_and_not_what_is_installed() -> None:
    with copy_of_the_project() as root:
        shutil.rmtree(root / "src")
        with pytest.raises(MutantError, match="and not the copy in"):
            run_tests(root, FAST.killers)


def test_the_tests_must_run_without_a_fault() -> None:
    missing = replace(FAST, killers=("tests/test_key.py::test_that_is_not_there",))
    with pytest.raises(MutantError, match="did not run"):
        control([FAST, missing])


# -- the tables ------------------------------------------------------------------------------------

ROWS = [
    (FAST, Verdict("tests/a.py::test_b[x|y]", 1.25)),
    (SURVIVOR, Verdict(None, 2.0)),
    (replace(FAST, name="hangs"), Verdict("tests/a.py::test_c", 30.0, timed_out=True)),
]


def test_the_tables_say_what_found_what() -> None:
    assert summary(ROWS) == "2 of 3 faults found, in 33 s of tests"
    plain = plain_table(ROWS).splitlines()
    assert plain[0] == "key-can-be-doubled    1.2 s  tests/a.py::test_b[x|y]"
    assert plain[1] == "a comment             2.0 s  nothing: it SURVIVED"
    assert plain[2] == "hangs                30.0 s  tests/a.py::test_c (timed out)"
    page = markdown(ROWS, "the command")
    assert "Written by `the command` on " in page
    assert (
        f"| key-can-be-doubled | `_key.py` | {FAST.fault} | `tests/a.py::test_b[x\\|y]` |" in page
    )
    assert "| nothing: it SURVIVED | 2.0 |" in page
    assert "| `tests/a.py::test_c` (timed out) | 30.0 |" in page


def test_the_command_lists_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(MUTANTS)
    assert main(["--only", "no-such-mutant"]) == 2
    assert "no such mutant: no-such-mutant" in capsys.readouterr().err
