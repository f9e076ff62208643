"""Risk: a child unlocks what its parent had open, keeps it locked, or takes it for its own."""

from __future__ import annotations

import os
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

from backofflock import Grant
from backofflock.backends.file import FileBackend

from ..scripts import ROOT, command
from .file_scripts import PRELUDE, run
from .servers.file import is_unlocked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

FORK = """
import asyncio, ctypes, signal, subprocess, time, warnings
from tests.scripts import in_child

file = directory / "orders.lock"

def fork_past_the_hooks():
    '''Fork as a library written in C does, of which Python hears nothing.'''
    return ctypes.PyDLL(None).fork()
"""


def run_forking(script: str, directory: Path) -> None:
    run(FORK + textwrap.dedent(script), directory)


@pytest.mark.parametrize("fork", ["os.fork", "fork_past_the_hooks"])
def test_child_has_nothing_of_what_its_parent_holds(tmp_path: Path, fork: str) -> None:
    run_forking(
        f"""
        backend = FileBackend(directory)
        grant = backend.try_acquire("orders", "a", 1.0)

        def child():
            assert not backend.renew("orders", "a", 1.0)
            assert not backend.release("orders", "a")
            assert descriptors_in(directory) == 0
            assert backend.try_acquire("orders", "b", 1.0) == Busy()
            assert FileBackend(directory).try_acquire("orders", "c", 1.0) == Busy()
            assert backend.try_acquire("stock", "d", 1.0).fence

        in_child(child, {fork})
        assert backend.renew("orders", "a", 1.0)
        assert backend.try_acquire("orders", "a", 1.0) == grant
        assert not is_unlocked(file)
        assert is_unlocked(directory / "stock.lock")
        assert backend.release("orders", "a")

        def child():
            mine = backend.try_acquire("orders", "e", 1.0)
            assert mine.fence > grant.fence
            assert file.read_text().split() == [str(mine.fence), str(os.getpid())]
            backend.close()
            assert is_unlocked(file)

        in_child(child, {fork})
        assert backend.try_acquire("orders", "f", 1.0).fence
        """,
        tmp_path,
    )


def test_child_that_closes_the_backend_closes_its_own(tmp_path: Path) -> None:
    run_forking(
        """
        backend = FileBackend(directory)
        backend.try_acquire("orders", "a", 1.0)

        def child():
            global backend
            backend.close()
            del backend

        for fork in (os.fork, fork_past_the_hooks):
            in_child(child, fork)
            assert backend.renew("orders", "a", 1.0)
            assert not is_unlocked(file)
        """,
        tmp_path,
    )


def test_child_that_leaves_the_body_does_not_release_the_lock(tmp_path: Path) -> None:
    run_forking(
        """
        backend = FileBackend(directory)
        lock = ThreadDistributedLock("orders", backend)

        def leave(lease):
            '''Fork in the body, and leave it in the child only.'''
            assert not lock.locked()
            assert lease.lost.is_set()
            try:
                lease.ensure_held()
            except LeaseLost as error:
                assert "the process that this one was forked from" in error.reason
            else:
                raise AssertionError("the child believes that it has it")
            lock.__exit__(None, None, None)

        with lock as lease:
            def child():
                try:
                    leave(lease)
                except LeaseLost:
                    assert not is_unlocked(file)
                else:
                    raise AssertionError("it left as if it had been its own")
                try:
                    lock.acquire(timeout=0)
                except AcquireTimeout:
                    pass
                else:
                    raise AssertionError("it got what its parent has")

            in_child(child)
            lease.ensure_held()
            assert not is_unlocked(file)
        assert is_unlocked(file)
        assert lock.statistics().lost == 0
        """,
        tmp_path,
    )


def test_task_of_a_forked_child(tmp_path: Path) -> None:
    run_forking(
        """
        backend = FileBackend(directory)
        lock = DistributedLock("orders", backend)

        async def use():
            async with lock as lease:
                return lease.fence

        async def main():
            async with lock as lease:
                def child():
                    asyncio.events._set_running_loop(None)
                    try:
                        asyncio.run(lock.acquire(timeout=0.05))
                    except AcquireTimeout:
                        pass
                    else:
                        raise AssertionError("it got what its parent has")
                in_child(child)
                lease.ensure_held()
            def child():
                asyncio.events._set_running_loop(None)
                assert asyncio.run(use()) > lease.fence
            in_child(child)
            assert await use() > lease.fence + 1

        asyncio.run(main())
        """,
        tmp_path,
    )


def test_fork_while_other_threads_are_in_the_middle_of_it(tmp_path: Path) -> None:
    """The child knows all that was open, and no mutex of it is held for ever."""
    run_forking(
        """
        backends = [FileBackend(directory) for _ in range(3)]
        over, counts = False, [0] * 6

        def work(i):
            backend = backends[i % 3]
            while not over:
                token = os.urandom(8).hex()
                backend.try_acquire(f"orders {i % 4}", token, 1.0)
                FileBackend(directory).try_acquire(f"orders {i % 4}", token, 1.0)
                backend.release(f"orders {i % 4}", token)
                counts[i] += 1

        def child():
            assert descriptors_in(directory) == 0
            for backend in backends:
                assert not backend._state.files
                assert backend.try_acquire(f"mine {os.getpid()}", "x", 1.0).fence
                assert backend.release(f"mine {os.getpid()}", "x")

        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(60):
            in_child(child)
            before = sum(counts)
            while sum(counts) < before + 6:
                time.sleep(0.0005)
        over = True
        for thread in threads:
            thread.join()
        backends.clear()
        assert descriptors_in(directory) == 0
        """,
        tmp_path,
    )


HOLDERS = {
    "fork": """
warnings.simplefilter("ignore", DeprecationWarning)  # that other threads run is no matter here
child = os.fork()
""",
    "fork past the hooks, used": """
child = fork_past_the_hooks()
if not child:
    backend.renew("orders", "a", 1.0)
""",
    "subprocess": """
look = "import os, sys; os.write(1, b'ready\\\\n'); sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", look], close_fds=False).pid
""",
}


@pytest.mark.parametrize("kind", HOLDERS)
def test_child_that_outlives_its_parent_keeps_nothing_locked(tmp_path: Path, kind: str) -> None:
    """SIGKILL takes the parent, and the child goes on until its stdin ends."""
    script = f"""
backend = FileBackend(directory)
print(backend.try_acquire("orders", "a", 1.0).fence, flush=True)
{HOLDERS[kind]}
os.write(1, b"%d\\n" % child if child else b"ready\\n")  # in one piece, which print need not be
sys.stdin.read()
os._exit(0)
"""
    with subprocess.Popen(
        command(PRELUDE + FORK + script, str(tmp_path)),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        fence = int(parent.stdout.readline())
        number, ready = sorted(parent.stdout.readline().strip() for _ in range(2))
        child = int(number)
        try:
            assert ready == b"ready"
            assert not is_unlocked(tmp_path / "orders.lock")
            parent.kill()
            parent.wait(20)
            with FileBackend(tmp_path) as backend:
                answer = backend.try_acquire("orders", "b", 1.0)
                assert isinstance(answer, Grant), answer
                assert answer.fence > fence
            os.kill(child, 0)  # it lives
        finally:
            parent.stdin.close()
        # The end of its stdout is the end of the child.
        latest = time.monotonic() + 20
        assert parent.stdout.read() == b""
        assert time.monotonic() < latest


def test_subprocess_inherits_nothing(tmp_path: Path) -> None:
    script = """
        backend = FileBackend(directory)
        for name in ("orders", "stock"):
            backend.try_acquire(name, "a", 1.0)
        assert descriptors_in(directory) == 2
        look = '''if True:
            import sys
            from pathlib import Path
            from tests.backends.servers.file import descriptors_in
            sys.exit(descriptors_in(Path(sys.argv[1])))
        '''
        for close_fds in (True, False):
            command = [sys.executable, "-c", look, str(directory)]
            subprocess.run(command, close_fds=close_fds, check=True)
    """
    run_forking(script, tmp_path)
