"""``backofflock run``: the command runs under the lock, and its status is what comes back."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from backofflock._schedule_text import parse, text_of
from backofflock.cli import main
from backofflock.cli.app import app
from backofflock.cli.run import Status, state_directory

from .running import (
    Run,
    environment,
    eventually,
    is_free,
    linux_only,
    posix_only,
    python,
    run,
)

COMMAND: Any = get_command(app).commands["run"]  # type: ignore[attr-defined]

# -- the command has its own way -------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 1, 2, 75, 255])
def test_the_status_is_that_of_the_command(tmp_path: Path, status: int) -> None:
    assert run(tmp_path, command=python(f"raise SystemExit({status})")) == (status, "", "")


@posix_only
@pytest.mark.parametrize("number", [9, 11, 15])
def test_a_command_that_a_signal_ended_gives_128_and_its_number(
    tmp_path: Path, number: int
) -> None:
    command = python(f"import os; os.kill(os.getpid(), {number})")
    assert run(tmp_path, command=command) == (128 + number, "", "")


def test_input_and_output_are_those_of_the_command(tmp_path: Path) -> None:
    program = "import sys; print(input()[::-1]); print('oh', file=sys.stderr)"
    with Run(tmp_path, command=python(program)) as process:
        process.tell("desserts")
        assert process.end() == (0, "stressed\n", "oh\n")


def test_its_arguments_are_not_read_as_options(tmp_path: Path) -> None:
    program = "import sys; print(sys.argv[1:])"
    words = ["--timeout", "x", "--", "-v", "", "a b", "*"]
    assert run(tmp_path, command=[*python(program), *words]) == (0, f"{words}\n", "")


def test_it_finds_the_name_and_the_fence_in_its_environment(tmp_path: Path) -> None:
    program = "import os; print(os.environ['BACKOFFLOCK_NAME'], os.environ['BACKOFFLOCK_FENCE'])"
    fences = []
    for _ in range(3):
        status, out, err = run(tmp_path, command=python(program), name="ein Näme/2")
        assert (status, err) == (0, "")
        name, _, fence = out.rpartition(" ")
        assert name == "ein Näme/2"
        fences.append(int(fence))
    assert fences == sorted(set(fences))


@linux_only
def test_it_inherits_what_we_inherited_and_nothing_of_ours(tmp_path: Path) -> None:
    program = "import os; print({int(fd) for fd in os.listdir('/proc/self/fd')})"
    reader, writer = os.pipe()
    try:
        bare = subprocess.run(python(program), pass_fds=[writer], capture_output=True, check=True)
        under = run(tmp_path, command=python(program), pass_fds=[writer])
        assert under == (0, bare.stdout.decode(), "")
        assert str(writer) in under[1]
    finally:
        os.close(reader)
        os.close(writer)


# -- the lock --------------------------------------------------------------------------------------

ENTER = "import os, time; os.mkdir('inside'); time.sleep(0.05); os.rmdir('inside')"
"""Fails if another is inside."""


def test_commands_of_one_name_never_overlap(tmp_path: Path) -> None:
    where = tmp_path / "locks"
    where.mkdir()
    runs = [Run(where, command=python(ENTER), cwd=tmp_path) for _ in range(6)]
    assert [process.end() for process in runs] == [(0, "", "")] * 6


def test_commands_of_two_names_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with (
        Run(tmp_path, name="one", command=python("print('in'); input()")) as one,
        Run(tmp_path, name="two", command=python("print('in'); input()")) as two,
    ):
        assert (one.line(), two.line()) == ("in", "in")
        for process in (one, two):
            process.tell()
            assert process.end() == (0, "", "")


def test_the_second_waits_and_runs_when_the_first_has_ended(tmp_path: Path) -> None:
    first = Run(tmp_path, command=python("print('in'); input(); print('out')"))
    with first, Run(tmp_path, "--timeout", "0", command=python("print('early')")) as early:
        assert first.line() == "in"
        assert early.end()[0] in (0, Status.NOT_IN_TIME)  # either came first
        with Run(tmp_path, "-v", command=python("print('in')")) as second:
            second.said_until("waits for 'job'")
            first.tell()
            assert first.end() == (0, "out\n", "")
            status, out, err = second.end()
    assert (status, out) == (0, "in\n")
    assert "has 'job' after" in err


def test_nobody_runs_who_does_not_get_it_in_time(tmp_path: Path) -> None:
    with Run(tmp_path, command=python("print('in'); input()")) as holder:
        assert holder.line() == "in"
        status, out, err = run(tmp_path, "--timeout", "0", command=python("print('in')"))
        assert (status, out) == (75, "")
        assert re.fullmatch(
            r"backofflock: gave up on lock 'job' after 1 attempt and \d+\.\d+ seconds "
            r"\(timeout=0\.0\)\n",
            err,
        )
        status, out, err = run(tmp_path, "--timeout", "0.2", command=python("print('in')"))
        assert (status, out) == (75, "")
        gave_up = re.fullmatch(r".* after \d+ attempts? and (.+) seconds \(timeout=0\.2\)\n", err)
        assert gave_up is not None, err
        assert float(gave_up[1]) >= 0.2
        holder.tell()
        assert holder.end() == (0, "", "")
    assert is_free(tmp_path)


def test_a_schedule_that_ends_gives_up_too(tmp_path: Path) -> None:
    with Run(tmp_path, command=python("print('in'); input()")) as holder:
        assert holder.line() == "in"
        arguments = ["--schedule", "constant:initial=0.001,take=3"]
        status, out, err = run(tmp_path, *arguments, command=python("print('in')"))
        holder.tell()
        assert holder.end()[0] == 0
    assert (status, out) == (75, "")
    assert "after 4 attempts" in err
    assert "the schedule is exhausted" in err


def test_verbose_shows_each_wait_and_what_is_held(tmp_path: Path) -> None:
    arguments = ["-v", "--timeout", "30", "--schedule", "constant:initial=0.02"]
    with Run(tmp_path, command=python("print('in'); input()")) as holder:
        assert holder.line() == "in"
        with Run(tmp_path, *arguments, command=python("raise SystemExit(3)")) as waiter:
            first, second = waiter.said(), waiter.said()
            holder.tell()
            status, out, err = waiter.end()
    who = re.escape(f"backofflock: {socket.gethostname()}[{waiter.pid}]")
    rest = r"failed after \d+\.\d{3} s, next try in 0\.020 s, \d\d\.\d{3} s left"
    assert re.fullmatch(rf"{who} waits for 'job': attempt 1 {rest}", first)
    assert re.fullmatch(rf"{who} waits for 'job': attempt 2 {rest}", second)
    assert (status, out) == (3, "")
    *_, has, gives = err.splitlines()
    assert re.fullmatch(rf"{who} has 'job' after \d+ attempts and \d+\.\d{{3}} s, fence \d+", has)
    assert re.fullmatch(rf"{who} gives 'job' back: the command ended with status 3", gives)


@posix_only
@pytest.mark.parametrize("nowhere", [">&-", "> /dev/full"], ids=["closed", "full"])
def test_what_cannot_be_said_does_not_matter(tmp_path: Path, nowhere: str) -> None:
    if nowhere.endswith("full") and not Path("/dev/full").exists():
        pytest.skip("needs the device /dev/full")
    run = [sys.executable, "-m", "backofflock", "run", "--backend", tmp_path.as_uri(), "-v", "job"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" 2{nowhere}', "sh", *run, "--", "sh", "-c", "echo in; exit 3"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "in\n")


# -- commands that cannot be run -------------------------------------------------------------------


def test_a_command_that_is_not_there_is_missed_before_the_wait(tmp_path: Path) -> None:
    with Run(tmp_path, command=python("print('in'); input()")) as holder:
        assert holder.line() == "in"
        status, out, err = run(tmp_path, command=["no-such-command", "-x"])
        holder.tell()
        assert holder.end()[0] == 0
    assert (status, out) == (127, "")
    assert err == "backofflock: cannot run 'no-such-command': there is no such command\n"


@posix_only
def test_a_file_that_is_not_executable_gives_126(tmp_path: Path) -> None:
    script = tmp_path / "no-program"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    sentence = f"backofflock: cannot run {str(script)!r}: it is not an executable file\n"
    assert run(tmp_path, command=[str(script)]) == (126, "", sentence)
    search = environment(PATH=f"{tmp_path}:{os.environ['PATH']}")
    status, _, err = run(tmp_path, command=["no-program"], env=search)
    assert (status, err) == (126, sentence.replace(str(script), "no-program"))


@posix_only
def test_a_command_that_fails_to_start_gives_the_lock_back(tmp_path: Path) -> None:
    script = tmp_path / "no-program"
    script.write_text("echo it has no first line with the interpreter\n", encoding="utf-8")
    script.chmod(0o755)
    status, out, err = run(tmp_path, command=[str(script)])
    assert (status, out) == (126, "")
    assert "it is no program, and has no line with #!" in err
    script.write_text("#!/no/such/interpreter\n", encoding="utf-8")
    status, out, err = run(tmp_path, command=[str(script)])
    assert (status, out) == (127, "")
    assert "what is to run it, by its first line say, is not there" in err
    assert is_free(tmp_path)


@posix_only
def test_a_path_that_cannot_be_followed_gives_126(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for program, reason in (
        (str(loop), "Too many levels"),
        (f"/{'x' * 300}", "File name too long"),
    ):
        status, out, err = run(tmp_path, command=[program])
        assert (status, out) == (126, "")
        assert err.startswith(f"backofflock: cannot run {program!r}: {reason}")
    # On the way to commands it is passed over, as a shell does.
    search = environment(PATH=f"{loop}:/{'x' * 300}:{os.environ['PATH']}")
    status, _, err = run(tmp_path, command=["no-such-command"], env=search)
    assert (status, "there is no such command" in err) == (127, True)


# -- where the lock is kept ------------------------------------------------------------------------


@posix_only
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has another convention")
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("", ".local/state/backofflock/locks"),
        ("relative", ".local/state/backofflock/locks"),
        ("{home}/elsewhere", "elsewhere/backofflock/locks"),
    ],
)
def test_without_a_backend_it_is_the_users_state_directory(
    tmp_path: Path, state: str, expected: str
) -> None:
    env = environment(HOME=str(tmp_path), XDG_STATE_HOME=state.format(home=tmp_path))
    with Run(None, command=python("print('in'); input()"), env=env, cwd=tmp_path) as holder:
        assert holder.line() == "in"
        directory = tmp_path / expected
        assert directory.stat().st_mode & 0o777 == 0o700
        assert not is_free(directory)
        holder.tell()
        assert holder.end()[0] == 0


@posix_only
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has another convention")
def test_a_home_that_is_no_absolute_path(tmp_path: Path) -> None:
    env = environment(HOME="home", XDG_STATE_HOME="")
    status, _, err = run(None, command=python(""), env=env, cwd=tmp_path)
    assert status == 2
    assert "the home directory 'home' is no absolute path): give a --backend" in err
    assert not list(tmp_path.iterdir())


def test_a_backend_that_is_empty_is_not_this_machine(tmp_path: Path) -> None:
    sentence = (
        "backofflock: --backend, or BACKOFFLOCK_BACKEND, is empty: leave it out for files of this "
        "user\n"
    )
    assert run("", command=python("")) == (2, "", sentence)
    env = environment(BACKOFFLOCK_BACKEND="", HOME=str(tmp_path))
    assert run(None, command=python(""), env=env) == (2, "", sentence)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:hunter2@localhost/0?bogus=1", "connections of redis-py have no option 'bogus'"),
        ("redis://:hunter2@localhost/0?protocol=9", "redis-py does not take an option: protocol"),
        ("redis://:hunter2@localhost/jobs", "a URL of Redis is redis://user:password@host:port/db"),
        ("redis://localhost?request_timeout=soon", "request_timeout must be a number of seconds"),
        (
            "rediss://:hunter2@localhost?ssl_ca_certs=/no.pem",
            "No such file or directory: '/no.pem'",
        ),
        ("etcds://u:hunter2@localhost?verify=/no.pem", "No such file or directory: '/no.pem'"),
        ("etcds://u:hunter2@localhost?cert=/no.pem", "No such file or directory: '/no.pem'"),
    ],
)
def test_a_backend_that_is_wrong_is_a_bad_argument(url: str, says: str) -> None:
    status, out, err = run(url, command=python(""))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("backofflock: --backend: ")
    assert says in err
    assert "hunter2" not in err


def test_the_state_directory_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALAPPDATA", str(Path.home() / "of windows"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    home, last = Path.home(), Path("backofflock", "locks")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert state_directory() == home / "Library" / "Application Support" / last
    monkeypatch.setattr(sys, "platform", "win32")
    assert state_directory() == home / "of windows" / last
    monkeypatch.delenv("LOCALAPPDATA")
    assert state_directory() == home / "AppData" / "Local" / last


def test_the_backend_may_be_in_the_environment(tmp_path: Path) -> None:
    env = environment(BACKOFFLOCK_BACKEND=tmp_path.as_uri())
    with Run(None, command=python("print('in'); input()"), env=env) as holder:
        assert holder.line() == "in"
        assert not is_free(tmp_path)
        other = tmp_path / "other"
        other.mkdir()
        assert run(other, command=python(""), env=env)[0] == 0  # the option counts more
        holder.tell()
        assert holder.end()[0] == 0


def test_a_place_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    env = environment(XDG_STATE_HOME=str(tmp_path / "file"), LOCALAPPDATA=str(tmp_path / "file"))
    status, out, err = run(None, command=python(""), env=env)
    assert (status, out) == (2, "")
    assert err.startswith("backofflock: there is no place for the locks of this user (")
    assert err.endswith("): give a --backend\n")


# -- bad arguments ---------------------------------------------------------------------------------

BAD = [
    ([], "the name of the lock is missing: backofflock run NAME -- command ..."),
    (["", "--", "true"], "the name of the lock is missing"),
    (["job"], "the command is missing: backofflock run job -- command ..."),
    (["two words", "--"], "the command is missing: backofflock run 'two words' -- command ..."),
    (["--", "job"], "the command is missing: backofflock run job -- command ..."),
    (["job", "ls", "-l"], "the command comes after --: backofflock run job -- ls -l"),
    (["job", "-v", "--", "ls"], "between NAME and -- stands '-v': options come before NAME"),
    (["my", "job", "--", "ls"], "between NAME and -- stands 'job': options come before NAME"),
    (["--ttl", "0", "job", "--", "ls"], "--ttl must be a number of seconds above 0, not 0.0"),
    (["--ttl", "nan", "job", "--", "ls"], "--ttl must be a number of seconds above 0, not nan"),
    (["--ttl", "30s", "job", "--", "ls"], "'--ttl'"),
    (["--timeout", "-1", "job", "--", "ls"], "--timeout must be a number of seconds of 0 or more"),
    (["--timeout", "inf", "job", "--", "ls"], "--timeout must be a number of seconds of 0 or more"),
    (["--grace", "-0.1", "job", "--", "ls"], "--grace must be a number of seconds of 0 or more"),
    (["--schedule", "", "job", "--", "ls"], "--schedule: schedule '': the name of a schedule is"),
    (
        ["--schedule", "exponentail:cap=2", "job", "--", "ls"],
        "there is no 'exponentail' (did you mean 'exponential'?); there are spin, constant,",
    ),
    (
        ["--schedule", "linear:initial=1,caps=2", "job", "--", "ls"],
        "linear has no field 'caps' (did you mean 'cap'?); it may have initial, cap, jitter, take",
    ),
    (
        ["--backend", "http://host", "job", "--", "ls"],
        "--backend: a backend's URL begins with one of file://, redis://,",
    ),
    (["--backend", "host", "job", "--", "ls"], "--backend: a backend's URL begins with one of"),
    (["--frobnicate", "job", "--", "ls"], "--frobnicate"),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD]
)
def test_a_bad_argument_gets_one_sentence_and_status_2(
    arguments: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BACKOFFLOCK_BACKEND", raising=False)
    assert main(["run", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("backofflock: ")
    assert sentence in err
    assert err.count("\n") == 1


# -- help and completion ---------------------------------------------------------------------------


def test_the_help_has_examples_and_every_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: backofflock run [OPTIONS] NAME -- COMMAND ...\n")
    examples = re.findall(r"^ +backofflock run (.*)$", shown, re.MULTILINE)
    assert len(examples) >= 4
    assert all(" -- " in example for example in examples)
    statuses = shown.partition("Exit status:")[2].partition("Arguments:")[0]
    for status in [*Status, 126, 127, 128, 2]:
        assert re.search(rf"\b{int(status)}\b", statuses), status
    for option in ("--backend", "--ttl", "--timeout", "--schedule", "--grace", "--verbose"):
        assert option in shown


PAGE = (Path(__file__).parents[2] / "docs" / "run.md").read_text(encoding="utf-8")


def test_the_page_has_every_option_and_every_status() -> None:
    options = {option for parameter in COMMAND.params for option in parameter.opts}
    named = {option for option in options if option.startswith("-")}
    assert {"--backend", "-v"} <= named
    table = PAGE.partition("## Options")[2].partition("\n## ")[0]
    assert [option for option in named if f"`{option}" not in table] == []
    table = PAGE.partition("## Exit status")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| (\d+) \|", table, re.MULTILINE))
    assert rows == {str(int(s)) for s in Status if s < 128} | {"126", "127", "2"}


def test_the_examples_of_the_page_can_be_run() -> None:
    examples = re.findall(r"backofflock run (\S.* -- [^#\n]*)", PAGE)
    assert len(examples) >= 7
    for example in examples:
        context = COMMAND.make_context("run", shlex.split(example.partition("-- sh -c '")[0]))
        assert context.params["name"], example
        assert not context.params["name"].startswith("-"), example


def test_the_schedules_of_the_page_can_be_read() -> None:
    block = PAGE.partition("## Schedules")[2].partition("```text\n")[2].partition("```")[0]
    texts = [re.split(" {3,}", line)[0] for line in block.splitlines()]
    assert len(texts) >= 5
    for text in texts:
        assert text_of(parse(text)).partition(":")[0] == text.partition(":")[0]


def completed(line: str) -> list[str]:
    words = line.split(" ")
    env = environment(
        _BACKOFFLOCK_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
    )
    done = subprocess.run(
        [sys.executable, "-m", "backofflock"], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_shell_completes_its_options(tmp_path: Path) -> None:
    assert completed("backofflock r") == ["run"]
    assert completed("backofflock run --sch") == ["--schedule"]
    assert completed("backofflock run --t") == ["--ttl", "--timeout"]


# -- a backend that is not there -------------------------------------------------------------------


@pytest.fixture
def deaf() -> str:
    """The address of a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return f"redis://:hunter2@127.0.0.1:{port}/0"


@pytest.mark.parametrize("timeout", ["0", "0.3"])
def test_a_backend_that_does_not_answer_gives_69_and_keeps_the_password(
    deaf: str, timeout: str
) -> None:
    env = environment(BACKOFFLOCK_BACKEND=deaf)
    status, out, err = run(None, "--timeout", timeout, "-v", command=python("print()"), env=env)
    assert (status, out) == (69, "")
    assert "hunter2" not in err
    assert err.count("; trying again\n") == 1
    assert re.search(
        r"^backofflock: gave up on lock 'job' after .*: redis://\S+ did not answer try_acquire: ",
        err.splitlines()[-1],
    )


def test_ctrl_c_ends_a_wait_for_a_backend_that_does_not_answer(deaf: str) -> None:
    with Run(deaf, command=python("print()")) as process:
        assert "did not answer try_acquire" in process.said()
        process.signal(2)
        assert process.end() == (130, "", "")


def test_a_directory_that_is_none_gives_78(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, out, err = run(tmp_path / "file", command=python("print()"))
    assert (status, out) == (78, "")
    assert err.startswith("backofflock: file://")
    assert "refused try_acquire" in err


# -- many at once ----------------------------------------------------------------------------------


def test_a_waiter_that_is_killed_leaves_nothing_held(tmp_path: Path) -> None:
    with Run(tmp_path, command=python("print('in'); input()")) as holder:
        assert holder.line() == "in"
        with Run(tmp_path, "-v", command=python("print('in')")) as waiter:
            waiter.said_until("waits for 'job'")
        holder.tell()
        assert holder.end()[0] == 0
    eventually(lambda: is_free(tmp_path))
