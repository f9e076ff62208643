"""Waiting in a coroutine for the `threading.Lock` of somebody else's library.

`cachetools.cached` guards its cache by a lock of `threading`, and whoever touches the cache beside
it has to take that lock: ``with cache_lock: cache.clear()``. A thread of this program does so for
half a second, to save the cache. In a coroutine the same line would stop the whole event loop for
as long. `BackoffLock(over=...)` keeps its key in that very lock: it excludes the library and the
thread, and naps instead of blocking.

    python examples/foreign_lock.py

Needs the extra ``examples``: cachetools.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

from cachetools import TTLCache, cached

from backofflock import BackoffLock

cache: TTLCache[object, float] = TTLCache(maxsize=100, ttl=600.0)
cache_lock = threading.Lock()


@cached(cache, lock=cache_lock)
def price(article: str) -> float:
    """Return the price of an article, looked up at most once in ten minutes."""
    return float(len(article))


def save(started: threading.Event) -> None:
    """Write the cache to the disk; nobody may change it meanwhile."""
    with cache_lock:
        started.set()
        time.sleep(0.5)


async def longest_stop() -> float:
    """Return for how long the event loop stood still at most, in seconds; runs until cancelled."""
    longest, before = 0.0, time.monotonic()
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(0.001)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
    return longest


async def clear_while_it_is_saved(cooperative: bool) -> float:
    """Clear the cache in a coroutine, and return the longest stop of the event loop."""
    price("tea")
    started = threading.Event()
    saving = threading.Thread(target=save, args=(started,))
    saving.start()
    started.wait()
    watching = asyncio.create_task(longest_stop())
    await asyncio.sleep(0)
    if cooperative:
        async with BackoffLock(over=cache_lock):
            cache.clear()
    else:
        with cache_lock:
            cache.clear()
    await asyncio.sleep(0.002)
    watching.cancel()
    saving.join()
    return await watching


if __name__ == "__main__":
    for title, cooperative in (("with cache_lock", False), ("async with BackoffLock", True)):
        stopped = asyncio.run(clear_while_it_is_saved(cooperative))
        verdict = "stood still" if stopped > 0.4 else "kept running"
        print(f"{title}: the cache has {len(cache)} entries, and the event loop {verdict}")
