"""What befalls the process: it forks, closes loops under their waiters, and collects garbage."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
import traceback
import weakref
from collections.abc import Callable
from random import Random
from typing import Any

import trio

from backofflock import Attempt, BackoffLock, ThreadBackoffLock, WouldBlock
from backofflock._attempts import Attempts

from .desks import Desk, Site

__all__ = ["MISCHIEFS", "Mischief", "fork_and_use"]

CHILD_LIMIT = 20.0
"""Seconds within which a forked child must have shown that its locks work."""

Sites = tuple[Site, Site]
"""The lock of threads and tasks, and the lock of tasks."""

Mischief = Callable[[Sites, Desk, Random], None]


# -- forks -----------------------------------------------------------------------------------------


def fork_and_use(sites: Sites, desk: Desk, rng: Random) -> None:
    """Fork; the child frees the locks that it inherits, uses them, and exits with 0."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the parent
            _use_in_child(sites)
            status = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)
    latest = time.monotonic() + CHILD_LIMIT
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > latest:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            desk.went_wrong(TimeoutError(f"it hangs after {CHILD_LIMIT} s"), "a forked child")
            return
        time.sleep(0.002)
    if ended[1]:
        desk.went_wrong(ChildProcessError(f"it ended with status {ended[1]}"), "a forked child")
    else:
        desk.events["forks"] += 1


def _use_in_child(sites: Sites) -> None:
    for site in sites:
        site.lock._at_fork_reinit()
        assert site.lock.statistics().tasks_waiting == 0, f"{site.name}: a waiter is left"
    shared, owned = (site.lock for site in sites)
    assert isinstance(shared, ThreadBackoffLock)
    assert isinstance(owned, BackoffLock)
    assert shared.acquire(timeout=5.0), "the key of the shared lock is gone"
    assert not shared.acquire(blocking=False), "the shared lock has two keys"
    shared.release()
    asyncio.run(_use_in_task(owned))


async def _use_in_task(lock: BackoffLock) -> None:
    async def second() -> None:
        try:
            lock.acquire_nowait()
        except WouldBlock:
            return
        raise AssertionError("the owned lock has two keys")

    await lock.acquire(timeout=5.0)
    await asyncio.create_task(second())
    lock.release()


# -- loops that end under their waiters ------------------------------------------------------------


def close_asyncio_loop(sites: Sites, desk: Desk, rng: Random) -> None:
    """Run a loop whose tasks wait for both locks, and close it while some of them wait."""
    waiting: set[int] = set()
    seconds = rng.uniform(0.0, 0.03)

    async def enter_again_and_again(place: int, site: Site) -> None:
        while True:
            waiting.add(place)
            asked = time.monotonic()
            async with site.lock:  # it never suspends inside: nobody holds when the loop stops
                waiting.discard(place)
                with desk.visit(site, "async with", asked):
                    pass
            await asyncio.sleep(0.0005)

    async def some_time() -> None:
        latest = time.monotonic() + 1.0
        await asyncio.sleep(seconds)
        while not waiting and time.monotonic() < latest:
            await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(enter_again_and_again(place, sites[place % 2])) for place in range(4)]
    loop.run_until_complete(some_time())
    loop.close()
    for task in tasks:
        if task.done():  # only by an error
            desk.went_wrong(task.exception() or RuntimeError("cancelled"), "a loop to be closed")
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant to be so
    if waiting:
        desk.events["closed loops"] += 1


def end_trio_run(sites: Sites, desk: Desk, rng: Random) -> None:
    """Leave waiters in the queues whose trio run is over; drop them after a while."""
    left: list[Attempts] = []

    async def step_once() -> None:
        for site in sites:
            steps = site.lock.attempts()
            if await anext(steps):
                steps.close()
            else:
                left.append(steps)

    trio.run(step_once)
    if left:
        desk.events["ended trio runs"] += 1
    time.sleep(rng.uniform(0.0, 0.03))
    left.clear()


# -- garbage ---------------------------------------------------------------------------------------


class Litter:
    """Part of a cycle with a waiter; its finalizer enters the lock, wherever it is run."""

    def __init__(self, site: Site, desk: Desk, steps: Attempts, first: Attempt) -> None:
        self._site, self._desk = site, desk
        self._cycle: list[Any] = [self, steps, first]

    def __del__(self) -> None:
        lock, asked = self._site.lock, time.monotonic()
        assert isinstance(lock, ThreadBackoffLock)
        if lock.acquire(blocking=False):
            try:
                with self._desk.visit(self._site, "finalizer", asked):
                    pass
            finally:
                lock.release()


def collect_waiters(sites: Sites, desk: Desk, rng: Random) -> None:
    """Join the queue, and leave it only by a collection of garbage."""
    shared = sites[0]
    assert isinstance(shared.lock, ThreadBackoffLock)
    steps = shared.lock.attempts()
    litter = Litter(shared, desk, steps, next(steps))
    gone = weakref.ref(litter)
    del litter, steps
    time.sleep(rng.uniform(0.0, 0.001))
    while True:
        gc.collect()  # does nothing while another thread collects
        if gone() is None:
            break
        time.sleep(0.0005)
    desk.events["collections"] += 1


MISCHIEFS: dict[str, tuple[Mischief, float]] = {
    "closer": (close_asyncio_loop, 0.15),
    "trio ender": (end_trio_run, 0.15),
    "litterer": (collect_waiters, 0.05),
    **({"forker": (fork_and_use, 0.5)} if hasattr(os, "fork") else {}),
}
"""Each has a thread of its own, and rests up to so many seconds before each time."""
