"""The fixtures of pytest: found by the entry point, in a pytest of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..snippets import snippets

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"

pytest_plugins = ["pytester"]

FIXTURES = """
import pytest
from backofflock import Constant, ThreadBackoffLock
from backofflock._naps import NAPS

orders = ThreadBackoffLock(Constant(3600.0), max_attempts=3, name="orders")

def test_with_both(no_backoff, recorded_attempts):
    with orders:
        assert not orders.acquire()
    assert recorded_attempts.delays("orders") == [3600.0, 3600.0]

@pytest.mark.usefixtures("no_backoff")
def test_that_fails():
    raise RuntimeError

def test_that_comes_later():
    assert not NAPS.skipping
    assert not NAPS.observers
"""

EARLY = """
import sys

def loaded():
    return {name.partition(".")[0] for name in sys.modules if "backofflock" in name}

at_start = loaded()

def test_that_uses_no_fixture():
    assert at_start == loaded() == {"pytest_backofflock"}
"""


def test_the_fixtures_are_there_and_end_with_their_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FIXTURES)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1)


def test_pytest_loads_nothing_but_the_plugin(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(EARLY)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_the_fixtures_say_what_they_do(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures")
    for name in ("no_backoff", "recorded_attempts", "virtual_clock"):
        result.stdout.re_match_lines([rf"{name} -- .*pytest_backofflock.py:\d+"])
    result.stdout.fnmatch_lines(["*backofflock.testing.no_backoff*"])


def test_the_tests_of_the_page_pass(pytester: pytest.Pytester) -> None:
    tests = [
        snippet.code
        for snippet in snippets(PAGE.read_text(encoding="utf-8"))
        if snippet.code.startswith("# test_")
    ]
    assert tests
    for code in tests:
        name = code.split()[1]
        pytester.path.joinpath(name).write_text(code, encoding="utf-8")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=sum(code.count("def test_") for code in tests))


def test_what_is_imported_first_in_a_test_is_in_its_coverage(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import backofflock\n\ndef test_nothing():\n    assert backofflock\n")
    environment = {name: value for name, value in os.environ.items() if "COV" not in name}
    data = {**environment, "COVERAGE_FILE": str(pytester.path / "data")}
    for command in (
        ["run", "--source=backofflock", "-m", "pytest", "-p", "no:cacheprovider"],
        ["json", "-q", "-o", "coverage.json"],
    ):
        subprocess.run(
            [sys.executable, "-m", "coverage", *command],
            cwd=pytester.path,
            env=data,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=90,
        )
    files = json.loads((pytester.path / "coverage.json").read_text())["files"]
    (records,) = [found for name, found in files.items() if Path(name).name == "records.py"]
    # All of it but a method runs at import.
    assert records["summary"]["percent_covered"] > 80
