"""Tasks that wait for a lock that stays held: what they cost meanwhile, and how fast they drain."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from statistics import median
from time import perf_counter, process_time
from typing import Any

from ..cells import Cell
from ..peers import Peer
from ..stats import percentile
from .contenders import heartbeat
from .tally import Result, Tally
from .tasks import dismiss, failed_of

__all__ = ["measure_memory", "wait_and_drain"]

BEAT = 0.02
"""Seconds between heartbeats."""

BEATING = 0.5
"""Seconds of heartbeats before the lock is released: after those in which CPU time counts, of which
they take more than the waiters of most locks."""

LONGEST_DRAIN = 10.0
"""Seconds after which a lock that has not served all its waiters is given up."""


def wait_and_drain(peer: Peer, cell: Cell, seconds: float) -> Result:
    """Let ``cell.tasks`` tasks wait for `seconds` and some, then let all of them in."""
    return asyncio.run(_wait_and_drain(peer, cell.tasks, seconds))


async def _wait_and_drain(peer: Peer, size: int, seconds: float) -> Result:
    lock = peer.make()
    tally = Tally(size, 0, failed_of(peer, lock))
    served, all_served = 0, asyncio.Event()

    async def wait() -> None:
        nonlocal served
        async with lock:
            served += 1
            if served == size:
                all_served.set()

    async with lock:
        tasks = [asyncio.create_task(wait()) for _ in range(size)]
        try:
            await asyncio.sleep(0)
            cpu, started = -process_time(), perf_counter()
            await asyncio.sleep(seconds)
            held = perf_counter() - started
            cpu += process_time()
            tasks.append(asyncio.create_task(heartbeat(tally, asyncio.sleep, BEAT)))
            await asyncio.sleep(BEATING)
        except BaseException:
            tally.over = True
            for task in tasks:
                task.cancel()
            raise
        released = perf_counter()
    try:
        async with asyncio.timeout(LONGEST_DRAIN):
            await all_served.wait()
    except TimeoutError:
        pass  # the drain then took this long at the least
    drain = perf_counter() - released
    tally.over = True
    figures = {"cpu share": cpu / held, "drain": drain, "throughput": served / drain}
    if peer.failed is not None:
        figures["failed"] = peer.failed(lock) / size
    if tally.delays:
        tally.delays.sort()
        figures["loop p99"] = percentile(tally.delays, 0.99)
        figures["loop longest"] = tally.delays[-1]
    await dismiss(tasks, peer)
    return Result(figures)


def measure_memory(peer: Peer, cell: Cell) -> Result:
    """Return the bytes a waiting task takes, and the part of them that is the lock's.

    What the task itself takes is measured by tasks that wait for futures made beforehand; the rest
    (futures, queue entries, suspended calls of the lock) is the lock's. Of both it is the median of
    three: now and then asyncio's own set of tasks grows meanwhile, by up to 100 bytes a task.
    """
    bare = median(asyncio.run(_wait_for_futures(cell.tasks)) for _ in range(3))
    whole = median(asyncio.run(_wait_for_lock(peer, cell.tasks)) for _ in range(3))
    return Result({"memory": whole - bare, "memory with task": whole})


async def _wait_for_futures(size: int) -> float:
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[None]] = [loop.create_future() for _ in range(size)]

    async def wait(future: asyncio.Future[None]) -> None:
        await future

    memory, tasks = await _traced([partial(wait, future) for future in futures])
    for future in futures:
        future.set_result(None)
    await asyncio.wait(tasks)
    return memory


async def _wait_for_lock(peer: Peer, size: int) -> float:
    lock = peer.make()

    async def wait(lock: AbstractAsyncContextManager[object]) -> None:
        async with lock:
            pass

    async with lock:
        memory, tasks = await _traced([partial(wait, lock) for _ in range(size)])
    await dismiss(tasks, peer)
    return memory


async def _traced(
    waits: Sequence[Callable[[], Coroutine[Any, Any, None]]],
) -> tuple[float, list[asyncio.Task[None]]]:
    """Return the bytes per task that appear while the tasks come to wait, and the tasks."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tasks = [asyncio.create_task(wait()) for wait in waits]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / len(tasks), tasks
