"""The doorbell of a loop: what threads have it call is called there, and costs one descriptor."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import ref

import pytest

from backofflock import Constant, ThreadBackoffLock
from backofflock._hosts._doorbell import Doorbell, post_of

from .exhaustive.loop import Clock, HandLoop
from .striking import strike

pytestmark = pytest.mark.skipif(
    not hasattr(os, "eventfd"),
    reason="a system without eventfd: its loops have no doorbell",
)


def in_a_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def descriptors() -> set[str]:
    """Return the open descriptors that are counters of the kernel."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if "eventfd" in os.readlink(f"/proc/self/fd/{name}"):
                found.add(name)
        except OSError:  # the listing's own
            pass
    return found


def bell_of(loop: asyncio.AbstractEventLoop) -> Doorbell:
    """Return the doorbell of a loop, which has to have one."""
    bell = getattr(post_of(loop), "__self__", None)
    assert isinstance(bell, Doorbell)
    return bell


async def change_hands(lock: ThreadBackoffLock) -> None:
    """Have a task wait for a lock that a thread releases."""
    lock.acquire_nowait()
    task = asyncio.create_task(lock.acquire_async())
    while not (task.done() or lock.statistics().tasks_waiting):
        await asyncio.sleep(0)
    in_a_thread(lock.release)
    await asyncio.wait_for(task, 10)
    lock.release()


def test_the_loop_makes_the_calls_in_its_own_thread_in_the_order_of_the_rings() -> None:
    calls: list[tuple[int, int]] = []

    def note(number: int) -> None:
        calls.append((number, threading.get_ident()))

    async def main() -> None:
        post, done = post_of(asyncio.get_running_loop()), asyncio.Event()

        def ring() -> None:
            for number in range(100):
                post(partial(note, number))
            post(done.set)

        in_a_thread(ring)
        assert not calls
        await asyncio.wait_for(done.wait(), 10)

    asyncio.run(main())
    assert calls == [(number, threading.get_ident()) for number in range(100)]


def test_a_call_that_ends_the_loop_leaves_the_rest_to_its_next_turn() -> None:
    loop, made = asyncio.new_event_loop(), threading.Event()
    try:
        post = post_of(loop)
        post(lambda: exec("raise SystemExit"))
        post(made.set)
        with pytest.raises(SystemExit):
            loop.run_until_complete(asyncio.sleep(10))
        assert not made.is_set()
        loop.run_until_complete(asyncio.sleep(0.001))
        assert made.is_set()
    finally:
        loop.close()


def test_a_call_that_fails_is_reported_and_the_rest_are_made() -> None:
    async def main() -> list[str]:
        loop, reported, done = asyncio.get_running_loop(), list[str](), asyncio.Event()
        loop.set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
        post = post_of(loop)
        post(lambda: exec("raise ValueError('this failed')"))
        post(done.set)
        await asyncio.wait_for(done.wait(), 10)
        return reported

    assert asyncio.run(main()) == ["this failed"]


def test_all_locks_of_a_loop_share_one_descriptor_which_goes_with_the_loop() -> None:
    gc.collect()
    before = descriptors()

    async def main() -> None:
        for _ in range(10):
            await change_hands(ThreadBackoffLock(schedule=Constant(60.0)))
        (descriptor,) = descriptors() - before
        assert not os.get_inheritable(int(descriptor))

    asyncio.run(main())
    gc.collect()
    assert not descriptors() - before


def test_a_lock_that_outlives_its_loops_keeps_no_descriptor_of_more_than_the_last() -> None:
    gc.collect()
    before, lock = descriptors(), ThreadBackoffLock(schedule=Constant(60.0))
    for _ in range(5):
        asyncio.run(change_hands(lock))
    gc.collect()
    assert len(descriptors() - before) <= 1


def test_a_loop_that_is_closed_before_it_answers_is_forgotten() -> None:
    gc.collect()
    before, lock = descriptors(), ThreadBackoffLock(schedule=Constant(60.0))
    lock.acquire_nowait()
    loop = asyncio.new_event_loop()
    task = loop.create_task(lock.acquire_async())
    loop.run_until_complete(asyncio.sleep(0))
    in_a_thread(lock.release)
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    left: list[ref[Any]] = [ref(loop), ref(task)]
    del loop, task, lock
    gc.collect()
    assert [each() for each in left] == [None, None]
    assert not descriptors() - before


def test_a_ring_after_the_end_of_the_loop_does_nothing() -> None:
    loop = asyncio.new_event_loop()
    post = post_of(loop)
    loop.close()
    post(lambda: pytest.fail("a closed loop made a call"))


NO_MORE_FILES = """
import asyncio, os, resource
from tests.test_doorbell import change_hands
from backofflock import Constant, ThreadBackoffLock

async def main():
    await change_hands(ThreadBackoffLock(schedule=Constant(0.001)))  # what is imported late
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # what is open stays open
    try:
        os.eventfd(0)
    except OSError:
        return
    raise AssertionError("there are more files")

async def wait():
    await change_hands(ThreadBackoffLock(schedule=Constant(60.0)))

asyncio.run(main())
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
loop = asyncio.new_event_loop()
resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
loop.run_until_complete(wait())
print("woken", flush=True)
os._exit(0)
"""


def test_a_process_that_may_open_no_more_files_wakes_its_tasks_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_MORE_FILES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "woken\n", done.stderr


class Full(asyncio.SelectorEventLoop):
    """A loop whose kernel watches no more."""

    def add_reader(self, *_: Any) -> None:  # type: ignore[override]
        """Refuse it."""
        raise OSError(errno.ENOSPC, "the limit of watches is reached")


@pytest.mark.parametrize(
    "make", [Full, lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())]
)
def test_a_loop_that_cannot_watch_one_more_descriptor_is_called_as_asyncio_does(
    make: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    loop = make()
    try:
        assert post_of(loop) == loop.call_soon_threadsafe
        loop.run_until_complete(change_hands(ThreadBackoffLock(schedule=Constant(60.0))))
    finally:
        loop.close()


def test_a_ring_that_is_interrupted_is_heard_if_it_has_a_call() -> None:
    loop = asyncio.new_event_loop()
    try:
        for at in itertools.count(1):
            made: list[str] = []
            bell, call = bell_of(loop), partial(made.append, "it")
            struck = strike(partial(bell.ring, call), at, ("_doorbell.py",))
            is_left = bool(bell._calls)
            loop.run_until_complete(asyncio.sleep(0.001))
            assert bool(made) == is_left
            if not struck:
                break
        assert at > 2
    finally:
        loop.close()


def test_a_loop_that_was_ended_before_it_answered_reports_no_error() -> None:
    loop, reported, made = asyncio.new_event_loop(), list[object](), list[str]()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        post_of(loop)(lambda: made.append("it"))
        loop.call_soon(exec, "raise SystemExit")
        with pytest.raises(SystemExit):
            loop.run_until_complete(asyncio.sleep(10))
        loop.run_until_complete(asyncio.sleep(0.001))
    finally:
        loop.close()
    assert made == ["it"]
    assert not reported


def test_a_call_may_have_the_doorbell_answered() -> None:
    made: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        bell = bell_of(loop)
        loop.set_exception_handler(lambda _, context: pytest.fail(str(context)))
        bell.ring(bell.answer)
        for number in range(3):
            bell.ring(partial(made.append, number))
        while len(made) < 3:
            await asyncio.sleep(0)

    asyncio.run(main())
    assert made == [0, 1, 2]


class Session:
    """What a program keeps in its context."""


def test_a_doorbell_does_not_keep_the_context_of_its_first_task() -> None:
    session: ContextVar[Session] = ContextVar("session")

    async def first() -> ref[Session]:
        session.set(Session())
        await change_hands(ThreadBackoffLock(schedule=Constant(0.001)))
        return ref(session.get())

    async def main() -> None:
        kept = await asyncio.create_task(first())
        async with asyncio.timeout(10):  # until the lock's timer is over, which has it too
            while kept() is not None:
                await asyncio.sleep(0.01)
                gc.collect()

    asyncio.run(main())


def test_a_ring_of_what_is_garbage_reaches_nobody() -> None:
    async def main() -> None:
        lock = ThreadBackoffLock(schedule=Constant(0.001))
        lock.acquire_nowait()
        task = asyncio.create_task(lock.acquire_async())
        await asyncio.sleep(0)
        bell = bell_of(asyncio.get_running_loop())
        asyncio.get_running_loop().remove_reader(bell._descriptor)
        bell.__del__()  # as the collector does it, in whatever order
        in_a_thread(lock.release)
        assert lock.statistics().wakeups == 0
        task.cancel()

    asyncio.run(main())


def test_a_loop_that_watches_no_descriptors_is_called_as_asyncio_does() -> None:
    loop = HandLoop(Clock(), "by hand")  # type: ignore[abstract]
    assert post_of(loop) == loop.call_soon_threadsafe


def test_a_loop_of_asyncio_has_one_doorbell() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert bell_of(loop) is bell_of(loop)

    asyncio.run(main())
