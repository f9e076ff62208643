"""The bars of the distributed locks, as data; `benchmarks.bars` says what a bar is."""

from __future__ import annotations

from ..bars import Bar
from .cells import CELLS, HUNDREDS

__all__ = ["BARS", "OURS", "PLAIN"]

OURS = {"asyncio": "DistributedLock", "threads": "ThreadDistributedLock"}

PLAIN = {
    "redis/asyncio": "redis.asyncio calls",
    "redis/threads": "redis calls",
    "postgres/asyncio": "psycopg async calls",
    "postgres/threads": "psycopg calls",
    "etcd/asyncio": "httpx async calls",
    "etcd/threads": "httpx calls",
}
"""The calls of a client without a lock around them, by where they are made."""

REDIS_PY = {"asyncio": "redis.asyncio.lock.Lock", "threads": "redis.lock.Lock"}
FILELOCK = {"asyncio": "filelock.AsyncFileLock", "threads": "filelock.FileLock"}
REQUESTS = {"redis": 2, "postgres": 2, "etcd": 3}
"""Requests that an acquisition and its release may take together."""


def _bars() -> list[Bar]:
    bars = []
    for kind, ours in OURS.items():
        for backend, most in REQUESTS.items():
            cell = f"{backend}/{kind}/uncontended"
            bars += [
                Bar(cell, ours, "entry", PLAIN[f"{backend}/{kind}"], True, 1.1),
                Bar(cell, ours, "requests", None, True, most),
            ]
        bars.append(Bar(f"file/{kind}/uncontended", ours, "entry", FILELOCK[kind], True, 0.5))
        bars += _bars_of_a_hundred(f"redis/{kind}", ours, REDIS_PY[kind])
    return bars


def _bars_of_a_hundred(where: str, ours: str, theirs: str) -> list[Bar]:
    bars = []
    hundreds = {f"{p}x{n // p}" if p > 1 else f"{n}" for n, p in HUNDREDS}
    for cell in CELLS:
        if cell.id.startswith(f"{where}/") and cell.id.split("/")[2] in hundreds:
            faster = Bar(cell.id, ours, "throughput", theirs, False, 1.5)
            if cell.is_timed:
                # With redis-py's lock, too, somebody is in the section for more than two thirds of
                # the time: no lock can be 1.5 times as fast.
                faster = Bar(cell.id, ours, "occupied", None, False, 0.80)
            bars += [faster, Bar(cell.id, ours, "requests", theirs, True, 0.5)]
    return bars


BARS: tuple[Bar, ...] = tuple(_bars())
"""All bars."""
