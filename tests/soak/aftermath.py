"""What must be so once everybody has stopped: one key, empty queues, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import GeneratorType

from backofflock import AcquireTimeout, LockStatistics, ThreadBackoffLock, WouldBlock
from backofflock._attempts import Attempts
from backofflock._contention import Contention
from backofflock._waiter import Pledge, Waiter

from .desks import Site

__all__ = ["Memory", "leftovers", "look_at_rest"]

LIMIT = 5.0
"""Seconds within which a lock that nobody else wants must be had, and its alarm have run out."""


def look_at_rest(site: Site, kept: int) -> tuple[list[str], int]:
    """Return what is wrong with a lock that nobody uses, and whether its key is lost.

    `kept` is the number of sections that the desks have noted.
    """
    found: list[str] = []
    if site.count != kept:
        found.append(f"{site.name}: {kept} sections were entered, {site.count} left one by one")
    try:
        if asyncio.run(_two_can_enter(site)):
            found.append(f"{site.name}: there are two keys")
    except AcquireTimeout:
        return [*found, f"{site.name}: everybody has stopped, and the key is gone"], 1
    statistics = site.lock.statistics()
    if statistics.locked or statistics.owner is not None or site.inside is not None:
        found.append(f"{site.name} is held after everybody has stopped: {statistics}")
    if statistics.tasks_waiting:
        found.append(f"{site.name}: {statistics.tasks_waiting} left in the queue")
    return found + _contradictions(site.name, statistics), 0


def _contradictions(name: str, statistics: LockStatistics) -> list[str]:
    """Return where the counters of a lock at rest contradict each other."""
    # Exact ones against exact ones; `attempts` may have lost some, but not a tenth of them.
    rules = {
        "longest_wait <= total_wait": statistics.longest_wait <= statistics.total_wait,
        "no negative number": min(
            statistics.contended,
            statistics.attempts,
            statistics.wakeups,
            statistics.timeouts,
            statistics.cancellations,
        )
        >= 0,
        "attempts >= 0.9 * contended": statistics.attempts >= 0.9 * statistics.contended,
    }
    return [f"{name}: not {rule} in {statistics}" for rule, holds in rules.items() if not holds]


async def _two_can_enter(site: Site) -> bool:
    """Enter, and return whether a second can; let one wait, so that dead loops are forgotten."""
    lock = site.lock

    async def wait() -> None:
        async with lock:
            pass

    await _take(site)
    doubled = await asyncio.create_task(_second(site))
    waiter = asyncio.create_task(wait())
    await asyncio.sleep(0)
    if not doubled:
        lock.release()
    await waiter
    async with asyncio.timeout(LIMIT):
        while lock._alarms:
            await asyncio.sleep(0.002)
    return doubled


async def _take(site: Site) -> None:
    lock = site.lock
    if isinstance(lock, ThreadBackoffLock):
        await lock.acquire_async(timeout=LIMIT)
    else:
        await lock.acquire(timeout=LIMIT)


async def _second(site: Site) -> bool:
    try:
        site.lock.acquire_nowait()
    except WouldBlock:
        return False
    site.lock.release()
    return True


def leftovers() -> dict[str, int]:
    """Collect, and count what a lock at rest must have let go of."""
    gc.collect()
    gc.collect()
    policy = Contention.contend.__code__
    number: Counter[str] = Counter(waiters=0, pledges=0, policies=0, attempts=0)
    for thing in gc.get_objects():
        if isinstance(thing, Waiter):
            number["waiters"] += 1
        elif isinstance(thing, Pledge):  # and so the alarms of loops
            number["pledges"] += 1
        elif isinstance(thing, Attempts):
            number["attempts"] += 1
        elif isinstance(thing, GeneratorType) and thing.gi_code is policy:
            number["policies"] += 1
    return dict(number)


@dataclass(frozen=True)
class Memory:
    """What the process has allocated after so many sections, with everybody stopped."""

    sections: int
    blocks: int
    resident: int | None
    """Bytes, where the system tells."""

    @classmethod
    def now(cls, sections: int) -> Memory:
        """Return what it is now."""
        statm = Path("/proc/self/statm")
        pages = int(statm.read_text().split()[1]) if statm.exists() else None
        resident = None if pages is None else pages * os.sysconf("SC_PAGE_SIZE")
        return cls(sections, sys.getallocatedblocks(), resident)
