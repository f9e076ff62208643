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
        for cell in (cell.id for cell in CELLS if _is_of_a_hundred(cell.id, f"redis/{kind}")):
            bars += [
                Bar(cell, ours, "throughput", REDIS_PY[kind], False, 1.5),
                Bar(cell, ours, "requests", REDIS_PY[kind], True, 0.5),
            ]
    return bars


def _is_of_a_hundred(cell: str, where: str) -> bool:
    who = {f"{p}x{n // p}" if p > 1 else f"{n}" for n, p in HUNDREDS}
    return cell.startswith(f"{where}/") and cell.split("/")[2] in who


BARS: tuple[Bar, ...] = tuple(_bars())
"""All bars."""
