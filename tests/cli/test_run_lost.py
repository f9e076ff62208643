"""``backofflock run`` whose lease is lost: the command is ended, and the status says so."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from .running import Run, is_free, python

if sys.platform == "win32":
    pytest.skip("Windows does not let anybody delete an open file", allow_module_level=True)

TTL = "0.6"
"""Looked after every 0.15 to 0.2 s."""

POLITE = """
import os, signal, time
def leave(number, frame):
    print(signal.Signals(number).name, flush=True)
    os._exit(5)
signal.signal(signal.SIGTERM, leave)
print(os.getpid(), flush=True)
while True:
    time.sleep(0.02)  # not pause: it would miss one that comes just before
"""

DEAF = """
import os, signal, time
def mind(number, frame):
    print(signal.Signals(number).name, flush=True)
signal.signal(signal.SIGTERM, mind)
print(os.getpid(), flush=True)
while True:
    time.sleep(0.02)  # not pause: it would miss one that comes just before
"""

LOST = (
    r"backofflock: the lease of lock 'job' with fence \d+ was lost after \d+\.\d{3} seconds: "
    r"another has it, or its key was deleted"
)


def lose(where: Path) -> None:
    """Take the lock away from its holder."""
    (file,) = where.glob("job*")
    file.unlink()


def test_the_command_gets_sigterm_and_the_status_is_79(tmp_path: Path) -> None:
    with Run(tmp_path, "--ttl", TTL, command=python(POLITE)) as process:
        process.line()
        lose(tmp_path)
        assert process.line() == "SIGTERM"
        status, out, err = process.end()
    assert (status, out) == (79, "")
    told, ended = err.splitlines()
    assert re.fullmatch(f"{LOST}; the command gets SIGTERM", told)
    assert ended == "backofflock: the command ended with status 5"
    assert is_free(tmp_path)


def test_one_that_does_not_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    with Run(tmp_path, "--ttl", TTL, "--grace", "0.5", command=python(DEAF)) as process:
        process.line()
        lose(tmp_path)
        assert process.line() == "SIGTERM"
        since = time.monotonic()
        status, out, err = process.end()
        assert time.monotonic() - since >= 0.4
    assert (status, out) == (79, "")
    assert err.splitlines()[1:] == [
        "backofflock: the command did not end within 0.5 s and was killed",
        "backofflock: the command ended with status 137",
    ]


def test_it_is_not_killed_before(tmp_path: Path) -> None:
    with Run(tmp_path, "--ttl", TTL, "--grace", "600", command=python(DEAF)) as process:
        command = int(process.line())
        lose(tmp_path)
        assert process.line() == "SIGTERM"
        process.signal(signal.SIGTERM)  # signals are forwarded meanwhile
        assert process.line() == "SIGTERM"
        os.kill(command, signal.SIGKILL)
        status, _, err = process.end()
    assert status == 79
    assert "was killed" not in err


def test_a_grace_of_0_kills_at_once(tmp_path: Path) -> None:
    with Run(tmp_path, "--ttl", TTL, "--grace", "0", command=python(DEAF)) as process:
        process.line()
        lose(tmp_path)
        status, _, err = process.end()
    assert status == 79
    assert "did not end within 0 s and was killed" in err


def test_one_that_is_stopped_is_continued_to_hear_it(tmp_path: Path) -> None:
    with Run(tmp_path, "--ttl", TTL, "--grace", "600", command=python(POLITE)) as process:
        os.kill(int(process.line()), signal.SIGSTOP)
        lose(tmp_path)
        assert process.line() == "SIGTERM"
        assert process.end()[0] == 79


def test_another_file_in_its_place_is_a_loss_too(tmp_path: Path) -> None:
    with Run(tmp_path, "--ttl", TTL, command=python(POLITE)) as process:
        process.line()
        (file,) = tmp_path.glob("job*")
        other = tmp_path / "other"
        other.write_bytes(file.read_bytes())
        other.replace(file)
        assert is_free(tmp_path)
        assert process.line() == "SIGTERM"
        assert process.end()[0] == 79


@pytest.mark.parametrize("status", [0, 3])
def test_a_loss_that_shows_at_the_end_counts_more_than_the_status(
    tmp_path: Path, status: int
) -> None:
    with Run(tmp_path, command=python(f"input(); raise SystemExit({status})")) as process:
        while not list(tmp_path.glob("job*")):
            time.sleep(0.01)
        lose_when_held(tmp_path)
        process.tell()
        code, out, err = process.end()
    assert (code, out) == (79, "")
    assert re.fullmatch(f"{LOST}; the command had ended with status {status}\n", err)


def lose_when_held(where: Path) -> None:
    """Wait until it is held, then take it away."""
    while is_free(where):
        time.sleep(0.01)
    lose(where)


def test_a_lease_that_is_renewed_is_not_lost(tmp_path: Path) -> None:
    command = python("import time; time.sleep(1.5)")
    with Run(tmp_path, "--ttl", "0.3", command=command) as process:
        assert process.end() == (0, "", "")
