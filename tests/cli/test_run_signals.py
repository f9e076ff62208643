"""Signals to ``backofflock run``: forwarded once it runs its command, and the end of a wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from ast import literal_eval
from pathlib import Path

import pytest

from backofflock.cli import main

from .running import LIMIT, Run, environment, eventually, is_free, linux_only, python

if sys.platform == "win32":
    pytest.skip("Windows has no such signals", allow_module_level=True)

SAYING = """
import os, signal, time
def say(number, frame):
    print(signal.Signals(number).name, flush=True)
for name in "HUP INT QUIT USR1 USR2 TSTP CONT".split():
    signal.signal(getattr(signal, "SIG" + name), say)
def leave(number, frame):
    os.write(1, b"SIGTERM\\n")  # not print: a second one may interrupt it
    os._exit(7)
signal.signal(signal.SIGTERM, leave)
print(os.getpid(), flush=True)
while True:
    time.sleep(0.02)  # not pause: it would miss one that comes just before
"""
"""Prints its process id, then the name of each signal; SIGTERM ends it with status 7."""

WAITING = ["sh", "-c", "echo in; exec sleep 600"]
"""Says "in", and then is as defenceless as a command can be."""


# -- forwarded -------------------------------------------------------------------------------------


def test_signals_are_forwarded_once_each_and_in_order(tmp_path: Path) -> None:
    with Run(tmp_path, command=python(SAYING)) as process:
        assert int(process.line()) != process.pid
        for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTSTP", "SIGCONT"):
            process.signal(getattr(signal, name))
            assert process.line() == name
        process.signal(signal.SIGTERM)
        assert process.end() == (7, "SIGTERM\n", "")
    assert is_free(tmp_path)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_command_that_dies_of_it_gives_128_and_its_number(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    with Run(tmp_path, command=WAITING) as process:
        assert process.line() == "in"
        process.signal(number)
        assert process.end() == (128 + number, "", "")
    assert is_free(tmp_path)


@linux_only
def test_a_command_that_is_stopped_keeps_the_lock_and_can_be_continued(tmp_path: Path) -> None:
    with Run(tmp_path, command=WAITING) as process:
        assert process.line() == "in"
        command = child_of(process.pid)
        os.kill(command, signal.SIGSTOP)
        eventually(lambda: state_of(command) == "T")
        assert not is_free(tmp_path)
        process.signal(signal.SIGCONT)
        eventually(lambda: state_of(command) == "S")


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_what_is_ignored_stays_ignored(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    program = f"""
import signal
print(signal.getsignal({number}) is signal.SIG_IGN)
input()
print("out")
"""
    nohup = f"""
import os, signal, sys
signal.signal({number}, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""
    run = [sys.executable, "-m", "backofflock", "run", "--backend", tmp_path.as_uri(), "job", "--"]
    with subprocess.Popen(
        [*python(nohup), *run, *python(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        process.send_signal(number)
        assert process.communicate("\n", timeout=LIMIT)[0] == "out\n"
        assert process.returncode == 0


def test_the_command_has_the_signals_that_we_were_given(tmp_path: Path) -> None:
    program = """
import signal
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
print([n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN])
"""
    bare = subprocess.run(
        python(program), capture_output=True, text=True, check=True, start_new_session=True
    )
    with Run(tmp_path, command=python(program)) as process:
        assert process.end() == (0, bare.stdout, "")


# -- while it waits --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1"])
@pytest.mark.parametrize("nap", ["0.001", "600"], ids=["asking", "napping"])
def test_a_signal_ends_the_wait_and_leaves_nothing_held(
    tmp_path: Path, name: str, nap: str
) -> None:
    number = getattr(signal, name)
    with Run(tmp_path, command=python("print('in', flush=True); input()")) as holder:
        assert holder.line() == "in"
        arguments = ["-v", "--schedule", f"constant:initial={nap}"]
        with Run(tmp_path, *arguments, command=python("print('in')")) as waiter:
            waiter.said_until("waits for 'job'")
            waiter.signal(number)
            status, out, err = waiter.end()
        assert (status, out) == (128 + number, "")
        assert "Traceback" not in err
        assert "has 'job'" not in err
        holder.tell()
        assert holder.end() == (0, "", "")
    assert is_free(tmp_path)


# -- at any moment ---------------------------------------------------------------------------------

UNDER_FIRE = """
import asyncio, os, signal, subprocess, sys, threading
from backofflock import DistributedLock
from backofflock.cli.supervise import Supervisor

where, runs = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGUSR1, lambda number, frame: None)
def state():
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    return handlers, signal.pthread_sigmask(signal.SIG_BLOCK, []), threading.active_count()

before = state()
fire = '''
import os, sys, time
while os.getppid() == int(sys.argv[1]):
    os.kill(int(sys.argv[1]), 10)
    time.sleep(float(sys.argv[2]))
'''
shots = subprocess.Popen([sys.executable, "-c", fire, str(os.getpid()), sys.argv[3]])

async def main():
    lock = DistributedLock("job", where)
    supervisor = Supervisor(lock, ["true"], 10.0, print, lambda sentence: None)
    status = await supervisor.run()
    assert not lock.locked()
    return supervisor.child is not None, status

seen = [asyncio.run(main()) for _ in range(runs)]
shots.kill()
shots.wait()
assert state() == before
print(sorted(set(seen)))
"""


@linux_only
def test_a_signal_at_any_moment_is_the_end_of_the_wait_or_reaches_the_command(
    tmp_path: Path,
) -> None:
    # From before the lock is asked for until after the command has ended and was reaped.
    done = subprocess.run(
        [*python(UNDER_FIRE), tmp_path.as_uri(), "200", "0.004"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    seen = set(literal_eval(done.stdout))
    assert seen <= {(False, 138), (True, 138), (True, 0)}
    assert {(True, 138), (True, 0)} <= seen


JUST_GOT_IT = """
import asyncio, os, signal, sys
import anyio
from backofflock import DistributedLock
from backofflock.cli.supervise import Supervisor

class Interrupted(DistributedLock):
    async def __aenter__(self):
        lease = await super().__aenter__()
        os.kill(os.getpid(), signal.SIGTERM)
        with anyio.CancelScope(shield=True):
            while supervisor.ended_by is None:
                await asyncio.sleep(0.001)
        return lease

async def main():
    global supervisor
    lock = Interrupted("job", sys.argv[1])
    supervisor = Supervisor(lock, ["echo", "started"], 10.0, print, lambda sentence: None)
    print(await supervisor.run(), lock.locked())

asyncio.run(main())
"""


def test_a_signal_that_comes_with_the_lock_keeps_the_command_from_starting(tmp_path: Path) -> None:
    done = subprocess.run(
        [*python(JUST_GOT_IT), tmp_path.as_uri()],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "143 False\n", "")


def test_afterwards_the_process_is_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    threads, mask = threading.active_count(), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    arguments = ["run", "--backend", tmp_path.as_uri(), "job", "--", *python("print('in')")]
    assert main(arguments) == 0
    assert capfd.readouterr() == ("in\n", "")
    assert threading.active_count() == threads
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == handlers


def test_other_threads_of_the_process_may_take_its_signals(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # They block nothing, so the system may give them what was meant for the one that listens.
    over = threading.Event()
    others = [threading.Thread(target=over.wait) for _ in range(4)]
    for other in others:
        other.start()
    try:
        for _ in range(5):
            arguments = ["run", "--backend", tmp_path.as_uri(), "job", "--", *python("print('in')")]
            assert main(arguments) == 0
            assert capfd.readouterr() == ("in\n", "")
    finally:
        over.set()
        for other in others:
            other.join()


# -- killed ----------------------------------------------------------------------------------------


@linux_only
def test_killed_it_takes_the_command_along_and_the_lock_is_free(tmp_path: Path) -> None:
    with Run(tmp_path, command=python(SAYING)) as process:
        command = int(process.line())
        process.signal(signal.SIGKILL)
        assert process.line() == "SIGTERM"
        status, more, errors = process.end()
        assert (status, errors) == (-9, "")
        # Linux signals for each thread of the parent that dies and leaves the child to another.
        assert set(more.split()) <= {"SIGTERM"}
        eventually(lambda: not Path(f"/proc/{command}").exists())
    assert is_free(tmp_path)


# -- what the system knows -------------------------------------------------------------------------


def stat_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def state_of(pid: int) -> str:
    """Return ``S`` for one that sleeps, ``T`` for one that is stopped."""
    return stat_of(pid)[0]


def child_of(pid: int) -> int:
    """Return the only child of a process."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return int(child)
