"""Risk: a forked child inherits a lock that nobody in it will ever release, and a dead queue.

Each test runs a script in a process of its own: forking the process of the tests, with its threads,
is what Python 3.12 and later warn of.
"""

from __future__ import annotations

import os
import textwrap

import pytest

from ..scripts import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PRELUDE = """
import os, threading, time, traceback, warnings
from backofflock import BackoffLock, Constant, ThreadBackoffLock
from tests.scripts import in_child, until

def works(lock):
    '''One at a time can take it, and waiting for it works.'''
    assert not lock.locked()
    assert lock.statistics().tasks_waiting == 0
    assert lock.acquire()
    assert not lock.acquire(blocking=False)
    assert not lock.acquire(timeout=0.005)
    got = []
    waiter = threading.Thread(target=lambda: got.append(lock.acquire(timeout=20)))
    waiter.start()
    until(lambda: lock.statistics().tasks_waiting == 1)
    lock.release()
    waiter.join()
    assert got == [True] and lock.locked()
    lock.release()
    assert not lock.locked()
"""


def run(script: str) -> None:
    """Run a script after the prelude, every warning an error."""
    run_script(PRELUDE + textwrap.dedent(script))


def test_held_by_the_parent() -> None:
    run("""
        lock = ThreadBackoffLock()
        lock.acquire()

        def child():
            assert lock.locked()
            lock._at_fork_reinit()
            works(lock)

        in_child(child)
        assert lock.locked(), "the parent's lock is its own"
        lock.release()
        works(lock)
    """)


def test_free_in_the_parent() -> None:
    run("""
        lock = ThreadBackoffLock()

        def child():
            lock._at_fork_reinit()  # no second key
            works(lock)

        in_child(child)
        works(lock)
    """)


def test_held_and_waited_for_by_threads() -> None:
    run("""
        lock = ThreadBackoffLock(fair_after=0.0)
        lock.acquire()
        got = []

        def wait():
            with lock:
                got.append(threading.current_thread().name)

        waiters = [threading.Thread(target=wait) for _ in range(3)]
        for waiter in waiters:
            waiter.start()
        until(lambda: lock.statistics().tasks_waiting == 3)

        def child():
            lock._at_fork_reinit()
            works(lock)

        in_child(child)
        assert lock.statistics().tasks_waiting == 3, "the parent's waiters are its own"
        lock.release()
        for waiter in waiters:
            waiter.join(20)
        assert len(got) == 3
        works(lock)
    """)


def test_at_fork_hook_as_for_the_locks_of_threading() -> None:
    run("""
        lock = ThreadBackoffLock()
        condition = threading.Condition(ThreadBackoffLock())
        os.register_at_fork(after_in_child=lock._at_fork_reinit)
        os.register_at_fork(after_in_child=condition._at_fork_reinit)

        def child():
            works(lock)
            assert condition.acquire(blocking=False)
            condition.notify_all()
            condition.release()

        with lock, condition:
            in_child(child)
        works(lock)
    """)


def test_backoff_lock_owned_and_waited_for_by_tasks() -> None:
    run("""
        import asyncio

        async def main(lock):
            async def wait():
                async with lock:
                    pass

            async def use():
                async with lock:
                    waiter = asyncio.create_task(wait())
                    while not lock.statistics().tasks_waiting:
                        await asyncio.sleep(0)
                await waiter

            async with lock:
                waiter = asyncio.create_task(wait())
                while not lock.statistics().tasks_waiting:
                    await asyncio.sleep(0)

                def child():
                    lock._at_fork_reinit()
                    assert not lock.locked()
                    statistics = lock.statistics()
                    assert statistics.tasks_waiting == 0 and statistics.owner is None
                    asyncio.run(use())  # the loop of the parent does not run here
                    assert not lock.locked()

                in_child(child)
                assert lock.statistics().tasks_waiting == 1
            await waiter
            assert not lock.locked()

        for over in (None, threading.Lock(), ThreadBackoffLock()):
            asyncio.run(main(BackoffLock(over=over)))
    """)
