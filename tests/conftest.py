"""Options of the whole test run."""

from __future__ import annotations

import gc
import signal

import coverage
import hypothesis  # before trio, whose plugin for it warns if it comes later
import pytest

assert hypothesis


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive", action="store_true", help="run the long searches of the proofs too"
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in the background deaf to Ctrl-C, and its children would be, too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "exhaustive: a long search; runs with --exhaustive")
    config.addinivalue_line("markers", "untraced: coverage gets in its way; runs without it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = set() if config.getoption("--exhaustive") else {"exhaustive"}
    if coverage.Coverage.current() is not None:
        left_out.add("untraced")
    # Not skipped but deselected: the summary counts them, and no skip hides what must run.
    chosen = [item for item in items if not left_out & {mark.name for mark in item.iter_markers()}]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.fixture
def nobody_else_is_told_of() -> None:
    """Collect the waiters that earlier tests gave up: listeners would be told of their end."""
    gc.collect()
