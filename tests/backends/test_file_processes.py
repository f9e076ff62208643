"""Risk: two processes are inside at once, or one that dies leaves it taken or its file torn."""

from __future__ import annotations

import random
import subprocess
import textwrap
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from backofflock import Grant, connect
from backofflock.backends.file import FileBackend

from ..scripts import ROOT, command
from .file_scripts import PRELUDE
from .servers.file import is_unlocked

LIMIT = 90.0
"""Seconds for what takes some when nobody else uses the machine."""


def start(script: str, directory: Path) -> subprocess.Popen[str]:
    """Run a script after the prelude, every warning an error."""
    return subprocess.Popen(
        command(PRELUDE + textwrap.dedent(script), str(directory)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


THREADS, TASKS, SECTIONS = 4, 6, 12

CROWD = f"""
    import asyncio, trio

    # Two backends of one directory are two processes in one.
    backends = [FileBackend(directory), FileBackend(directory)]
    counter, log = directory.parent / "counter", directory.parent / "log"
    errors = []

    def read():
        return int(counter.read_text())

    def write(number, fence):
        # No lock but the one that is tested guards this.
        counter.write_text(str(number + 1))
        with log.open("a") as lines:
            lines.write(f"{{fence}}\\n")

    def threads():
        def work(i):
            lock = ThreadDistributedLock("orders", backends[i % 2])
            for _ in range({SECTIONS}):
                with lock as lease:
                    number = read()
                    threading.Event().wait(0.0002)
                    write(number, lease.fence)
        return [threading.Thread(target=guarded, args=(work, i)) for i in range({THREADS})]

    async def contend(i, sleep):
        lock = DistributedLock("orders", backends[i % 2])
        for _ in range({SECTIONS}):
            async with lock as lease:
                number = read()
                await sleep(0.0002)
                write(number, lease.fence)

    async def on_asyncio():
        async with asyncio.TaskGroup() as group:
            for i in range({TASKS}):
                group.create_task(contend(i, asyncio.sleep))

    async def on_trio():
        async with trio.open_nursery() as nursery:
            for i in range({TASKS}):
                nursery.start_soon(contend, i, trio.sleep)

    def guarded(act, *arguments):
        try:
            act(*arguments)
        except BaseException as error:
            errors.append(error)
            raise

    everybody = threads()
    everybody.append(threading.Thread(target=guarded, args=(asyncio.run, on_asyncio())))
    everybody.append(threading.Thread(target=guarded, args=(trio.run, on_trio)))
    for thread in everybody:
        thread.start()
    for thread in everybody:
        thread.join()
    assert not errors, errors
"""


def test_never_two_inside(tmp_path: Path) -> None:
    """Threads, and tasks on two loops, over two backends each, in three processes."""
    directory = tmp_path / "locks"
    (tmp_path / "counter").write_text("0")
    processes = 3
    with ExitStack() as stack:
        crowds = [stack.enter_context(start(CROWD, directory)) for _ in range(processes)]
        latest = time.monotonic() + LIMIT
        try:
            for crowd in crowds:
                assert crowd.wait(latest - time.monotonic()) == 0
        finally:
            for crowd in crowds:
                crowd.kill()
    total = processes * (THREADS + 2 * TASKS) * SECTIONS
    assert int((tmp_path / "counter").read_text()) == total, "two were inside"
    fences = [int(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(fences) == total
    assert all(earlier < later for earlier, later in pairwise(fences)), "fences must grow"
    assert is_unlocked(directory / "orders.lock")


BUSY_BODY = """
    backend, i = FileBackend(directory), 0
    while True:
        i += 1
        grant = backend.try_acquire("orders", str(i), 1.0)
        os.write(1, f"{grant.fence}\\n".encode())
        backend.release("orders", str(i))
"""


def test_one_that_is_killed_anywhere_frees_the_lock_at_once(tmp_path: Path) -> None:
    rng = random.Random(20)
    seen = 0
    for i in range(12):
        with start(BUSY_BODY, tmp_path) as victim:
            assert victim.stdout is not None
            try:
                for _ in range(rng.randrange(1, 200)):
                    seen = int(victim.stdout.readline())
                victim.kill()
                victim.wait(LIMIT)
                with FileBackend(tmp_path) as backend:
                    answer = backend.try_acquire("orders", f"a{i}", 1.0)
            finally:
                victim.kill()
            whole = [line for line in victim.stdout.read().splitlines() if len(line) == 16]
        assert isinstance(answer, Grant), answer
        assert answer.fence > max([seen, *map(int, whole)])


def test_holder_that_is_killed(tmp_path: Path) -> None:
    script = """
        with ThreadDistributedLock("orders", FileBackend(directory), ttl=3600) as lease:
            print(lease.fence, flush=True)
            threading.Event().wait()
    """
    with start(script, tmp_path) as holder, FileBackend(tmp_path) as backend:
        assert holder.stdout is not None
        try:
            fence = int(holder.stdout.readline())
            text = (tmp_path / "orders.lock").read_text()
            assert text.split() == [str(fence), str(holder.pid)]
            assert not isinstance(backend.try_acquire("orders", "a", 1.0), Grant)
        finally:
            holder.kill()
        holder.wait(LIMIT)
        answer = backend.try_acquire("orders", "a", 1.0)
        assert isinstance(answer, Grant), answer
        assert answer.fence > fence


def test_holder_that_ends_without_a_release(tmp_path: Path) -> None:
    script = """
        lock = ThreadDistributedLock("orders", directory.as_uri())
        lock.acquire()
        print("held", flush=True)
    """
    with start(script, tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert holder.wait(LIMIT) == 0
    backend = connect(tmp_path.as_uri())
    assert isinstance(backend.try_acquire("orders", "a", 1.0), Grant)
    assert backend.release("orders", "a")


@pytest.mark.parametrize("host", ["asyncio", "trio"])
def test_tasks_call_it_as_it_is(tmp_path: Path, host: str) -> None:
    """No worker thread is started for it, by either library."""
    script = f"""
        import anyio

        async def main():
            lock = DistributedLock("orders", FileBackend(directory), ttl=0.3)
            async with lock as lease:
                await anyio.sleep(0.5)  # it is renewed meanwhile
                lease.ensure_held()
            assert threading.active_count() == 1, threading.enumerate()

        anyio.run(main, backend={host!r})
    """
    with start(script, tmp_path) as process:
        assert process.wait(LIMIT) == 0
