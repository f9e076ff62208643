"""Waiting in a coroutine for the `threading.Lock` of somebody else's library.

`cachetools.cached` guards its cache by a lock of `threading`, and whoever touches the cache beside
it has to take that lock: ``with cache_lock: cache.clear()``. A thread of this program does so for
half a second, to save the cache. In a coroutine the same line stops the whole event loop for as
long. `BackoffLock(over=...)` keeps its key in that very lock: it excludes the library and the
thread, and naps instead of blocking.

    $ python examples/foreign_lock.py
    with cache_lock: 0 requests answered until the cache was cleared
    async with BackoffLock: … requests answered until the cache was cleared

Needs the extra ``examples``: cachetools.
"""

from __future__ import annotations

import asyncio
import threading
import time

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


async def serve(answered: list[float]) -> None:
    """Answer a request every 10 ms; runs until cancelled."""
    while True:
        await asyncio.sleep(0.01)
        answered.append(time.monotonic())


async def clear_while_it_is_saved(cooperative: bool) -> int:
    """Clear the cache in a coroutine, and return how many requests were answered until then."""
    price("tea")
    started = threading.Event()
    saving = threading.Thread(target=save, args=(started,))
    saving.start()
    started.wait()
    answered: list[float] = []
    serving = asyncio.create_task(serve(answered))
    if cooperative:
        async with BackoffLock(over=cache_lock):
            cache.clear()
    else:
        with cache_lock:
            cache.clear()
    serving.cancel()
    saving.join()
    return len(answered)


if __name__ == "__main__":
    for title, cooperative in (("with cache_lock", False), ("async with BackoffLock", True)):
        answered = asyncio.run(clear_while_it_is_saved(cooperative))
        print(f"{title}: {answered} requests answered until the cache was cleared")
