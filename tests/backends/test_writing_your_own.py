"""The page about backends of one's own: what it shows runs, and passes the contract."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from backofflock import Backend, BackendUnavailable
from backofflock.testing import BackendContract

from ..snippets import snippets

PAGE = Path(__file__).parent.parent.parent / "docs" / "backends" / "writing-your-own.md"
TEXT = PAGE.read_text(encoding="utf-8")
BACKEND, TEST = (snippet.code for snippet in snippets(TEXT) if snippet.language == "python")

SLOW_BACKEND = BACKEND.replace("yield database", "sleep(0.02); yield database")
"""Its transactions take so long that those of threads that contend meet."""


def test_the_backend_of_the_page_passes_the_contract_as_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "sqlite_locks.py").write_text(BACKEND, encoding="utf-8")
    (tmp_path / "test_sqlite_locks.py").write_text(TEST, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_sqlite_locks.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    promises = [name for name in vars(BackendContract) if name.startswith("test_")]
    of_tasks = 2  # tests that threads do not have
    assert f"{2 * len(promises) - of_tasks} passed" in done.stdout


@pytest.mark.parametrize(
    ("line", "wrong", "promise"),
    [
        ("holder != token:", "True:", "asking_again_gets_the_same_grant"),
        ("WHERE token = ?", "WHERE 0 AND token = ?", "a_released_token_gets_nothing_any_more"),
        ("AND token = ?", "AND token IN (?, token)", "renew_tells_whether_it_is_held"),
        ("fence += 1", "fence += 0", "fences_grow"),
        ("BEGIN IMMEDIATE", "BEGIN", "never_two_at_once"),
        ("(name, token, fence, now", "(name.strip(), token, fence, now", "names_are_locks"),
    ],
)
def test_each_line_that_the_page_explains_is_needed(
    tmp_path: Path, line: str, wrong: str, promise: str
) -> None:
    assert line in SLOW_BACKEND
    faulty: dict[str, Any] = {"__name__": "sqlite_locks", "sleep": time.sleep}
    exec(SLOW_BACKEND.replace(line, wrong), faulty)

    class Contract(BackendContract):
        def make_backend(self) -> Backend:
            backend: Backend = faulty["SqliteBackend"](tmp_path / "locks.db")
            return backend

    (test,) = [name for name in vars(BackendContract) if name.startswith(f"test_{promise}")]
    with pytest.raises((AssertionError, BackendUnavailable)):
        getattr(Contract(), test)("threads")


def test_the_page_has_the_defaults_of_the_contract() -> None:
    rows = [row.strip("| ").split(" | ") for row in TEXT.splitlines() if row.startswith("| `")]
    shown = {row[0].strip("`"): row[1].strip("`") for row in rows}
    assert shown["hosts"] == str(BackendContract.hosts).replace("'", '"')
    assert float(shown["ttl"]) == BackendContract.ttl
    assert float(shown["slack"]) == BackendContract.slack
