"""The doorbell of a loop: what threads have it call is called there, and costs one descriptor."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

import pytest

from backofflock import Constant, ThreadBackoffLock
from backofflock._hosts._doorbell import Doorbell, post_of

from .exhaustive.loop import Clock, HandLoop

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
    assert descriptors() == before


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
    assert descriptors() == before


def test_a_ring_after_the_end_of_the_loop_does_nothing() -> None:
    loop = asyncio.new_event_loop()
    post = post_of(loop)
    loop.close()
    post(lambda: pytest.fail("a closed loop made a call"))


def test_a_process_that_may_open_no_more_files_wakes_its_tasks_all_the_same() -> None:
    import resource

    async def main() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # what is open stays open
        try:
            with pytest.raises(OSError, match="Too many open files"):
                os.eventfd(0)
            await change_hands(ThreadBackoffLock(schedule=Constant(60.0)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    asyncio.run(main())


def test_a_loop_that_watches_no_descriptors_is_called_as_asyncio_does() -> None:
    loop = HandLoop(Clock(), "by hand")  # type: ignore[abstract]
    assert post_of(loop) == loop.call_soon_threadsafe


def test_a_loop_of_asyncio_has_one_doorbell() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert post_of(loop) == post_of(loop)
        assert isinstance(getattr(post_of(loop), "__self__", None), Doorbell)

    asyncio.run(main())
