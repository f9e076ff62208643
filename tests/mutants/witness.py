"""Tells the runner what happens in a run of a mutant's tests; a plugin of that run of pytest.

The status pytest ends with does not do: it is 1 also where a test module cannot be imported.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import backofflock


class Witness:
    """Writes an event a line, at once: the run may hang and be ended."""

    def __init__(self, testimony: Path) -> None:
        self._testimony = testimony

    def _tell(self, event: str, test: str, **facts: object) -> None:
        with self._testimony.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "test": test, **facts}) + "\n")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._tell("broken", report.nodeid)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._tell("started", nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            timed_out = "from pytest-timeout" in report.longreprtext
            self._tell("failed", report.nodeid, timed_out=timed_out)
        elif report.passed and report.when == "call":
            self._tell("passed", report.nodeid)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--testimony", type=Path, help="where to write what happens, as JSON lines")


def pytest_configure(config: pytest.Config) -> None:
    package = Path(backofflock.__file__).resolve()
    if not package.is_relative_to(config.rootpath):
        raise pytest.UsageError(f"{package} is imported, and not the copy in {config.rootpath}")
    config.pluginmanager.register(Witness(config.getoption("testimony")))
