"""One contender on a free lock: what an entry costs."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from itertools import repeat
from time import perf_counter, process_time

from ..cells import Cell
from ..peers import Peer
from ..stats import percentile
from .tally import Result

__all__ = ["enter_free_lock"]

BATCH = 256
"""Entries between two looks at the clock."""


def enter_free_lock(peer: Peer, cell: Cell, seconds: float) -> Result:
    """Take and release a lock that nobody else wants, for about `seconds`."""
    if cell.host == "threads":
        return _in_thread(peer.make(), seconds)
    if cell.host == "trio":
        import trio

        return trio.run(_in_task, peer, seconds)
    return asyncio.run(_in_task(peer, seconds))


def _result(entries: int, seconds: float, cpu: float, singly: list[float]) -> Result:
    singly.sort()
    return Result(
        {
            "entry": seconds / entries,
            "throughput": entries / seconds,
            "cpu": cpu / entries,
            "p50": percentile(singly, 0.50),
            "p99": percentile(singly, 0.99),
            "longest": singly[-1],
        }
    )


async def _in_task(peer: Peer, seconds: float) -> Result:
    lock: AbstractAsyncContextManager[object] = peer.make()  # anyio's is another one outside
    for _ in repeat(None, BATCH):  # the first entries warm up
        async with lock:
            pass
    entries, cpu = 0, process_time()
    started = now = perf_counter()
    while now < started + seconds:
        for _ in repeat(None, BATCH):
            async with lock:
                pass
        entries += BATCH
        now = perf_counter()
    cpu = process_time() - cpu
    singly = []
    for _ in repeat(None, BATCH):
        asked = perf_counter()
        async with lock:
            singly.append(perf_counter() - asked)
    return _result(entries, now - started, cpu, singly)


def _in_thread(lock: AbstractContextManager[object], seconds: float) -> Result:
    for _ in repeat(None, BATCH):
        with lock:
            pass
    entries, cpu = 0, process_time()
    started = now = perf_counter()
    while now < started + seconds:
        for _ in repeat(None, BATCH):
            with lock:
                pass
        entries += BATCH
        now = perf_counter()
    cpu = process_time() - cpu
    singly = []
    for _ in repeat(None, BATCH):
        asked = perf_counter()
        with lock:
            singly.append(perf_counter() - asked)
    return _result(entries, now - started, cpu, singly)
