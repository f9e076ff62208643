"""Forked children, interpreters that shut down, and copies."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest

from backofflock import BackoffLock, ThreadBackoffLock

from ..contract.subjects import VARIANTS, Variant
from ..contract.test_fork import run as run_with_fork
from ..schedule_kinds import BOUNDED

# -- fork ------------------------------------------------------------------------------------------

has_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@has_fork
def test_fork_while_held() -> None:
    """bpo-6721 (https://github.com/python/cpython/issues/50970): a child inherits a lock that was
    held by a thread which the child does not have, so it waits for ever; locks of the standard
    library did so at every fork beside a thread that logged. bpo-40089
    (https://github.com/python/cpython/issues/84270) gave the locks ``_at_fork_reinit``; ours have
    it too.
    """
    run_with_fork("""
        import asyncio

        options = [{}, {"fair_after": 0.0}, {"fair_after": None}, {"wake_on_release": False}]
        locks = [ThreadBackoffLock(**option) for option in options]
        holding, over = threading.Event(), threading.Event()

        def hold():
            for lock in locks:
                lock.acquire()
            holding.set()
            over.wait(20)
            for lock in locks:
                lock.release()

        holder = threading.Thread(target=hold)
        holder.start()
        holding.wait(20)

        def child():
            for lock in locks:
                assert lock.locked()
                lock._at_fork_reinit()
                works(lock)

        in_child(child)
        over.set()
        holder.join(20)
        for lock in locks:
            works(lock)

        async def main(lock):
            async with lock:
                def child():
                    lock._at_fork_reinit()
                    assert not lock.locked()
                    asyncio.run(visit(lock))
                    assert not lock.locked()

                in_child(child)
                assert lock.locked()

        async def visit(lock):
            async with lock:
                assert lock.locked()

        for lock in (BackoffLock(), BackoffLock(over=threading.Lock()), ThreadBackoffLock()):
            asyncio.run(main(lock))
            assert not lock.locked()
    """)


@has_fork
def test_fork_while_waited_for() -> None:
    """bpo-6721: the child inherits the queue too, with waiters that do not exist in it: threads,
    and tasks of a loop that runs in another thread, the first of which is about to be woken.
    """
    run_with_fork("""
        import asyncio

        lock = ThreadBackoffLock(fair_after=0.0)
        lock.acquire()
        got = []

        def in_a_thread():
            with lock:
                got.append("thread")

        async def in_a_task():
            async with lock:
                got.append("task")

        async def in_tasks():
            await asyncio.gather(*(in_a_task() for _ in range(3)))

        waiters = [threading.Thread(target=in_a_thread) for _ in range(3)]
        waiters.append(threading.Thread(target=asyncio.run, args=(in_tasks(),)))
        for waiter in waiters:
            waiter.start()
        until(lambda: lock.statistics().tasks_waiting == 6)

        def child():
            lock._at_fork_reinit()
            works(lock)
            asyncio.run(in_tasks())  # a loop of its own
            works(lock)
            assert len(got) == 3

        in_child(child)
        lock.release()
        for waiter in waiters:
            waiter.join(20)
        assert sorted(got) == ["task"] * 3 + ["thread"] * 3
        works(lock)
    """)


@pytest.mark.untraced  # the fork may strike in the middle of what coverage does, too
@has_fork
def test_fork_in_the_middle_of_an_operation() -> None:
    """bpo-40089: the fork may strike while another thread is in the middle of an acquire or a
    release, so what the child inherits is in no state that a lock has at rest.
    """
    run_with_fork("""
        lock = ThreadBackoffLock(Constant(0.0002))
        over = threading.Event()
        errors = []

        def contend():
            try:
                while not over.is_set():
                    with lock:
                        pass
                    lock.acquire(timeout=0.0001) and lock.release()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=contend) for _ in range(4)]
        for thread in threads:
            thread.start()

        def child():
            lock._at_fork_reinit()
            works(lock)

        sys_switch = 0.0001
        import sys
        sys.setswitchinterval(sys_switch)
        for _ in range(25):
            in_child(child)
        over.set()
        for thread in threads:
            thread.join(20)
        assert errors == []
        works(lock)
    """)


@has_fork
def test_fork_bites() -> None:
    """Without ``_at_fork_reinit`` the child has lost the lock, be it ours or `threading.Lock`."""
    run_with_fork("""
        for lock in (threading.Lock(), ThreadBackoffLock()):
            thread = threading.Thread(target=lock.acquire)
            thread.start()
            thread.join()

            def child():
                assert not lock.acquire(timeout=0.1)
                lock._at_fork_reinit()
                assert lock.acquire(timeout=0.1)

            in_child(child)
    """)


# -- shutdown --------------------------------------------------------------------------------------

PRELUDE = """
import asyncio, atexit, sys, threading, time
from backofflock import BackoffLock, Constant, ThreadBackoffLock

def until(condition):
    latest = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < latest, "in vain"
        time.sleep(0.001)

def waiting(lock, count):
    until(lambda: lock.statistics().tasks_waiting == count)

def daemon(target, *args):
    threading.Thread(target=target, args=args, daemon=True).start()
"""

SECONDS = 30.0
"""What a script may take to its end on a busy machine; those that hang do so for ever."""


def run_to_the_end(script: str, status: int = 0) -> None:
    """Run a script; it must end soon, with that status, and say nothing on stderr."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.stderr == ""
    assert result.returncode == status


DAEMONS = """
    import trio
    shared = ThreadBackoffLock({schedule})
    ours = BackoffLock({schedule})

    def in_a_thread():
        with shared:
            pass

    async def enter(lock):
        async with lock:
            pass

    async def in_asyncio():
        await asyncio.gather(*(enter(lock) for lock in (shared, ours) for _ in range(3)))

    async def in_trio():
        async with trio.open_nursery() as nursery:
            for lock in (shared, ours):
                for _ in range(3):
                    nursery.start_soon(enter, lock)

    async def hold():
        await ours.acquire()
        await asyncio.sleep(1000)

    shared.acquire()
    daemon(asyncio.run, hold())
    until(ours.locked)
    for target in (in_a_thread, in_a_thread):
        daemon(target)
    daemon(asyncio.run, in_asyncio())
    daemon(trio.run, in_trio)
    waiting(shared, 8)
    waiting(ours, 6)
"""


@pytest.mark.parametrize("schedule", ["", "Constant(0.0005)"], ids=["default", "brisk"])
@pytest.mark.parametrize("release", ["", "    shared.release()\n"], ids=["held", "released"])
def test_interpreter_shutdown_with_waiting_daemons(schedule: str, release: str) -> None:
    """gh-87135 (https://github.com/python/cpython/pull/135991): a lock that a daemon thread holds
    or waits for at the end of the main thread hung the shutdown of the interpreter, or crashed it
    (gh-129536, https://github.com/python/cpython/issues/129536). Threads and tasks of loops in
    daemon threads wait for ours when main ends, or have just been woken.
    """
    run_to_the_end(DAEMONS.format(schedule=schedule) + release)


def test_interpreter_shutdown_keeps_its_status() -> None:
    """gh-87135: with waiters about, the status is the program's own."""
    run_to_the_end(DAEMONS.format(schedule="") + "    sys.exit(3)\n", status=3)


def test_interpreter_shutdown_with_waiting_tasks() -> None:
    """gh-87135, within one loop: its tasks wait when ``main`` ends, and when main fails."""
    run_to_the_end(
        """
        import trio
        left = []

        async def main(lock):
            await (lock.acquire() if isinstance(lock, BackoffLock) else lock.acquire_async())
            for _ in range(3):
                left.append(asyncio.create_task(enter(lock)))
            steps = lock.attempts()
            left.append(steps)
            while lock.statistics().tasks_waiting < 3:
                await asyncio.sleep(0)

        async def enter(lock):
            async with lock:
                pass

        locks = BackoffLock(), ThreadBackoffLock(), BackoffLock(over=ThreadBackoffLock())
        for lock in locks:
            asyncio.run(main(lock))
            assert lock.statistics().tasks_waiting == 0
        sys.exit(4)
    """,
        status=4,
    )


def test_interpreter_shutdown_with_an_iterator_left_over() -> None:
    """gh-87135: an iterator of ``attempts()`` stands in the queue; the last thing that happens to
    it is its finalizer, when the modules around it are being taken down.
    """
    run_to_the_end("""
        shared, ours = ThreadBackoffLock(), BackoffLock()
        shared.acquire()
        for_threads = iter(shared.attempts())
        assert not next(for_threads)

        async def main():
            global for_tasks, task
            await ours.acquire()
            task = asyncio.create_task(step())
            await task

        async def step():
            global for_tasks
            for_tasks = ours.attempts()
            async for attempt in for_tasks:
                assert not attempt
                return

        asyncio.run(main())
        waiting(ours, 1)
        waiting(shared, 1)
    """)


def test_interpreter_shutdown_waits_for_threads_that_wait() -> None:
    """gh-87135: a thread that is no daemon is waited for, and its wait ends as it should."""
    run_to_the_end("""
        lock = ThreadBackoffLock()
        lock.acquire()
        outcomes = []

        def give_up():
            outcomes.append(lock.acquire(timeout=0.1))
            lock.release()
            with lock:
                outcomes.append(True)

        def check():
            assert outcomes == [False, True] and not lock.locked()

        threading.Thread(target=give_up).start()
        atexit.register(check)
        waiting(lock, 1)
    """)


def test_interpreter_shutdown_and_the_lock_in_exit_handlers_and_finalizers() -> None:
    """gh-87135: what runs last may try the lock, and wait a little for one that a daemon holds."""
    run_to_the_end("""
        lock, held = ThreadBackoffLock(), ThreadBackoffLock()
        over = threading.Event()

        def wait():
            with lock:
                pass

        class Last:
            def __init__(self):
                self.cycle = self

            def __del__(self):
                if lock.acquire(blocking=False):
                    lock.release()
                assert not held.acquire(timeout=0.05)
                assert not held.acquire(blocking=False)
                print("finalized")

        def at_exit():
            lock.release()
            assert not held.acquire(timeout=0.05)
            with lock:
                print("at exit")

        daemon(held.acquire)
        until(held.locked)
        lock.acquire()
        for _ in range(3):
            daemon(wait)
        waiting(lock, 3)
        atexit.register(at_exit)
        last = Last()
    """)


def test_interpreter_shutdown_bites() -> None:
    """A thread that is no daemon and waits without a limit does hang the shutdown, on any lock."""
    script = """
        lock = {lock}()
        lock.acquire()
        started = threading.Event()

        def wait():
            started.set()
            lock.acquire()

        threading.Thread(target=wait).start()
        started.wait()
        print("main is over", flush=True)
    """
    for lock in ("threading.Lock", "ThreadBackoffLock"):
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(script.format(lock=lock))],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "main is over\n"
            time.sleep(0.3)  # more than any of the scripts above takes from there
            assert process.poll() is None
        finally:
            process.kill()
            process.communicate(timeout=SECONDS)


# -- copy and pickle -------------------------------------------------------------------------------

MEANS = [copy.copy, copy.deepcopy, pickle.dumps]


@pytest.mark.parametrize("means", MEANS, ids=lambda means: means.__name__)
@pytest.mark.parametrize("make", VARIANTS, ids=lambda variant: variant.name)
def test_copy_and_pickle(make: Variant, means: Any) -> None:
    """mistral-vibe #1069 (https://github.com/mistralai/mistral-vibe/issues/1069): an object with an
    `asyncio.Lock` inside was copied, lock and all, which failed just when somebody waited for the
    lock; at all other times there were two locks from then on, which exclude nobody from each
    other, the copy held for ever if the first was held. aiologic 0.15.0 (its changelog) mended the
    copying of its locks' inner state. Ours refuse it always, and loudly.
    """

    class Account:
        def __init__(self) -> None:
            self.lock = make().lock

    async def main() -> None:
        account = Account()
        for _ in range(2):
            for subject in (account.lock, vars(account)):
                if subject is not account.lock and means is copy.copy:
                    continue  # which shares the lock, and so it should
                with pytest.raises(TypeError, match="cannot pickle or copy"):
                    means(subject)
            assert not account.lock.locked()
            async with account.lock:
                waiter = asyncio.create_task(visit(account.lock))
                while not account.lock.statistics().tasks_waiting:
                    await asyncio.sleep(0)
                with pytest.raises(TypeError, match="cannot pickle or copy"):
                    means(account.lock)
            await waiter
        assert copy.copy(account).lock is account.lock

    async def visit(lock: BackoffLock | ThreadBackoffLock) -> None:
        async with lock:
            pass

    asyncio.run(main())


@pytest.mark.parametrize("family", BOUNDED)
def test_copy_and_pickle_of_what_may_be(family: Any) -> None:
    """mistral-vibe #1069: a schedule is a value, and its copies are equal to it."""
    schedule = family(0.01, cap=1.0)
    for same in (
        copy.copy(schedule),
        copy.deepcopy(schedule),
        pickle.loads(pickle.dumps(schedule)),
    ):
        assert same == schedule


def test_copy_and_pickle_bites() -> None:
    async def main() -> None:
        lock = asyncio.Lock()
        async with lock:
            twin = copy.deepcopy(lock)
            assert twin.locked(), "held by nobody"
        assert twin.locked()
        twin = copy.deepcopy(lock)
        async with lock, twin:
            pass  # two are inside

    asyncio.run(main())
