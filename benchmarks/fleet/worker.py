"""A worker: a process that does job after job, with some of the contenders of a sample in it."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from ..workloads.contenders import task_pauses, thread_sections, time_in_task, time_in_thread
from ..workloads.tally import FLOOR, join_all
from .cells import THINK
from .counting import FleetTally, count_requests_to
from .jobs import CLOSE, READY, Failed, Job, Window
from .peers import find_peer

__all__ = ["serve"]

WARM_UP = 20
"""Acquisitions of a lone contender before it is measured."""


def serve(pipe: Connection) -> None:
    """Do the jobs that come through `pipe` until it is closed."""
    gc.freeze()
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        gc.collect()
        try:
            count_requests_to(job.cell.backend)
            opened = find_peer(job.peer, job.cell.host).make(job.url, job.lock, job.contenders)
            if job.cell.in_tasks:
                asyncio.run(_in_tasks(opened, job, pipe))
            else:
                _in_threads(opened, job, pipe)
        except Exception as error:
            pipe.send(Failed(_reason(error)))
        else:
            pipe.send(READY)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _ask(pipe: Connection) -> Window:
    pipe.send(READY)
    window: Window = pipe.recv()
    return window


def _tell(pipe: Connection, tally: FleetTally) -> None:
    pipe.send(tally)
    answer = pipe.recv()
    assert answer == CLOSE, answer


# -- tasks -----------------------------------------------------------------------------------------


async def _in_tasks(
    opened: AbstractAsyncContextManager[list[Any]], job: Job, pipe: Connection
) -> None:
    async with opened as locks:
        measure = {
            "uncontended": _alone_in_task,
            "contended": _contend_in_tasks,
            "burst": _burst_in_tasks,
        }[job.cell.workload]
        tally = await measure(locks, job, pipe)
        _tell(pipe, tally)


async def _alone_in_task(locks: list[Any], job: Job, pipe: Connection) -> FleetTally:
    lock: AbstractAsyncContextManager[object] = locks[0]
    for _ in range(WARM_UP):
        async with lock:
            pass
    window = _ask(pipe)
    tally = FleetTally(1, 0)
    waits = tally.waits[0]
    tally.begin()
    while perf_counter() < window.end:
        asked = perf_counter()
        async with lock:
            waits.append(perf_counter() - asked)
    return _finished(tally)


async def _contend_in_tasks(locks: list[Any], job: Job, pipe: Connection) -> FleetTally:
    tally = FleetTally(len(locks), 0)
    section = "turn" if job.cell.section == "empty" else job.cell.section
    hold, _ = task_pauses(section, False, asyncio.sleep)
    if job.cell.is_timed:
        hold = tally.timed_in_task(hold)
    think = (lambda: asyncio.sleep(random.random() * THINK)) if job.cell.think else None
    window = _ask(pipe)
    await asyncio.sleep(window.begin - perf_counter())
    async with asyncio.TaskGroup() as group:
        tally.begin()
        for me, lock in enumerate(locks):
            group.create_task(time_in_task(lock, tally, me, hold, think))
        await asyncio.sleep(window.end - perf_counter())
        tally.finish()
    return tally


async def _burst_in_tasks(locks: list[Any], job: Job, pipe: Connection) -> FleetTally:
    tally = FleetTally(len(locks), 0)

    async def enter_once(me: int, lock: AbstractAsyncContextManager[object]) -> None:
        asked = perf_counter()
        async with lock:
            _note(tally, me, perf_counter() - asked)

    window = _ask(pipe)
    await asyncio.sleep(window.begin - perf_counter())
    tally.begin()
    async with asyncio.TaskGroup() as group:
        for me, lock in enumerate(locks):
            group.create_task(enter_once(me, lock))
    tally.finish()
    return tally


# -- threads ---------------------------------------------------------------------------------------


def _in_threads(opened: AbstractContextManager[list[Any]], job: Job, pipe: Connection) -> None:
    with opened as locks:
        measure = {
            "uncontended": _alone_in_thread,
            "contended": _contend_in_threads,
            "burst": _burst_in_threads,
        }[job.cell.workload]
        tally = measure(locks, job, pipe)
        _tell(pipe, tally)


def _alone_in_thread(locks: list[Any], job: Job, pipe: Connection) -> FleetTally:
    lock: AbstractContextManager[object] = locks[0]
    for _ in range(WARM_UP):
        with lock:
            pass
    window = _ask(pipe)
    tally = FleetTally(0, 1)
    waits = tally.waits[0]
    tally.begin()
    while perf_counter() < window.end:
        asked = perf_counter()
        with lock:
            waits.append(perf_counter() - asked)
    return _finished(tally)


def _contend_in_threads(locks: list[Any], job: Job, pipe: Connection) -> FleetTally:
    tally = FleetTally(0, len(locks))
    hold, _ = thread_sections(job.cell.section, False)
    if job.cell.is_timed and hold is not None:
        hold = tally.timed_in_thread(hold)
    think = (lambda: time.sleep(random.random() * THINK)) if job.cell.think else None

    def contend(me: int, lock: Any) -> None:
        time_in_thread(lock, tally, me, hold, think)

    with _threads(contend, locks) as gate:
        window = _ask(pipe)
        time.sleep(max(0.0, window.begin - perf_counter()))
        tally.begin()
        gate.set()
        time.sleep(max(0.0, window.end - perf_counter()))
        tally.finish()
    return tally


def _burst_in_threads(locks: list[Any], job: Job, pipe: Connection) -> FleetTally:
    tally = FleetTally(0, len(locks))

    def enter_once(me: int, lock: AbstractContextManager[object]) -> None:
        asked = perf_counter()
        with lock:
            _note(tally, me, perf_counter() - asked)

    with _threads(enter_once, locks) as gate:
        window = _ask(pipe)
        time.sleep(max(0.0, window.begin - perf_counter()))
        tally.begin()
        gate.set()
    tally.finish()
    return tally


@contextmanager
def _threads(act: Callable[[int, Any], None], locks: list[Any]) -> Iterator[threading.Event]:
    """Start a thread for each lock, which acts once the event is set; wait for all at the end."""
    gate = threading.Event()
    errors: list[Exception] = []

    def run(me: int, lock: Any) -> None:
        gate.wait()
        try:
            act(me, lock)
        except Exception as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(me, lock), daemon=True) for me, lock in enumerate(locks)
    ]
    for thread in threads:
        thread.start()
    yield gate
    join_all(threads)
    if errors:
        raise errors[0]


# -- both ------------------------------------------------------------------------------------------


def _note(tally: FleetTally, me: int, wait: float) -> None:
    tally.counts[me] += 1
    if wait >= FLOOR:
        tally.waits[me].append(wait)


def _finished(tally: FleetTally) -> FleetTally:
    tally.counts[0] = len(tally.waits[0])
    tally.finish()
    return tally
