"""Tasks that contend on one loop, asyncio's or trio's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from ..cells import Cell
from ..peers import Peer
from .contenders import Sleep, count_in_task, heartbeat, task_pauses, time_in_task
from .tally import PATIENCE, Result, Stuck, Tally

__all__ = ["BEAT", "contend_in_tasks", "contenders", "dismiss", "failed_of"]

BEAT = 0.002
"""Seconds between the heartbeats that measure the delay of a loop, on average."""

Contender = Callable[[], Coroutine[Any, Any, None]]


def contend_in_tasks(peer: Peer, cell: Cell, seconds: float, timed: bool) -> Result:
    """Let ``cell.tasks`` tasks contend for `seconds`."""
    if cell.host == "trio":
        import trio

        try:
            return trio.run(_on_trio, peer, cell, seconds, timed)
        except BaseExceptionGroup as group:  # how a nursery reports Ctrl-C
            if group.subgroup(KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
    return asyncio.run(_on_asyncio(peer, cell, seconds, timed))


def failed_of(peer: Peer, lock: object) -> Callable[[], int] | None:
    """Return what counts the failed tries of `lock`, if anything does."""
    return None if peer.failed is None else partial(peer.failed, lock)


def contenders(
    cell: Cell, lock: Any, tally: Tally, mine: range, timed: bool, sleep: Sleep
) -> list[Contender]:
    """Return what the tasks numbered `mine` run, and for a timed sample a heartbeat."""
    hold, think = task_pauses(cell.section, cell.think, sleep)
    contend = time_in_task if timed else count_in_task
    result: list[Contender] = [partial(contend, lock, tally, me, hold, think) for me in mine]
    if timed:
        result.append(partial(heartbeat, tally, sleep, BEAT, mine.start))
    return result


async def _on_asyncio(peer: Peer, cell: Cell, seconds: float, timed: bool) -> Result:
    lock = peer.make()
    tally = Tally(cell.tasks, 0, failed_of(peer, lock))
    tasks = [
        asyncio.create_task(contend())
        for contend in contenders(cell, lock, tally, range(cell.tasks), timed, asyncio.sleep)
    ]
    try:
        await asyncio.sleep(0)  # now one has the lock, and all others have asked for it
        tally.begin()
        await asyncio.sleep(seconds)
        tally.finish()
    finally:
        tally.over = True
        await dismiss(tasks, peer)
    return tally.result(timed)


async def dismiss(tasks: Sequence[asyncio.Task[None]], peer: Peer) -> None:
    """End the tasks of a sample that is over, or raise `Stuck`."""
    if peer.can_be_cancelled:
        for task in tasks:
            task.cancel()
    _, pending = await asyncio.wait(tasks, timeout=PATIENCE)
    if pending:
        raise Stuck(f"{len(pending)} of {len(tasks)} tasks did not end within {PATIENCE:.0f} s")
    for task in tasks:
        if not task.cancelled():
            task.result()


async def _on_trio(peer: Peer, cell: Cell, seconds: float, timed: bool) -> Result:
    import trio

    lock = peer.make()
    tally = Tally(cell.tasks, 0, failed_of(peer, lock))
    async with trio.open_nursery() as nursery:
        try:
            for contend in contenders(cell, lock, tally, range(cell.tasks), timed, trio.sleep):
                nursery.start_soon(contend)
            await trio.lowlevel.checkpoint()
            tally.begin()
            await trio.sleep(seconds)
            tally.finish()
        finally:
            tally.over = True
            nursery.cancel_scope.cancel()
    return tally.result(timed)
