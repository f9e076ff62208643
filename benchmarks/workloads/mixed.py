"""Threads and tasks on one lock, and tasks of two loops in two threads."""

from __future__ import annotations

import asyncio
import threading
import time

from ..cells import Cell
from ..peers import Peer
from .tally import Result, Tally, join_all
from .tasks import BEAT, contenders, dismiss, failed_of
from .threads import start_threads

__all__ = ["contend_mixed"]

LOOPS = 2
"""Loops, each in a thread of its own, in the cells without threads that contend."""


def contend_mixed(peer: Peer, cell: Cell, seconds: float, timed: bool) -> Result:
    """Let the cell's tasks, on one loop or two, and its threads contend for `seconds`."""
    lock = peer.make()
    tally = Tally(cell.tasks, cell.threads, failed_of(peer, lock))
    gate = threading.Event()
    loops = LOOPS if cell.host == "loops" else 1
    arrived = threading.Barrier(loops + 1)
    errors: list[BaseException] = []

    def run_loop(first: int) -> None:
        try:
            asyncio.run(
                _on_loop(peer, cell, lock, tally, range(first, cell.tasks, loops), timed, arrived)
            )
        except BaseException as error:
            errors.append(error)
            arrived.abort()

    # A loop that does not run in the main thread cannot keep the clock of the sample from running.
    threads: list[threading.Thread] = []
    try:
        start_threads(threads, lock, tally, cell, timed, gate)
        for number in range(loops):
            runner = threading.Thread(target=run_loop, args=(number,), daemon=True)
            runner.start()
            threads.append(runner)
        arrived.wait()
        tally.begin()
        gate.set()
        time.sleep(seconds)
        tally.finish()
    except threading.BrokenBarrierError:
        pass  # the loop's error is raised below
    finally:
        tally.over = True
        gate.set()
        arrived.abort()
        join_all(threads)
    if errors:
        raise errors[0]
    return tally.result(timed)


async def _on_loop(
    peer: Peer,
    cell: Cell,
    lock: object,
    tally: Tally,
    mine: range,
    timed: bool,
    arrived: threading.Barrier,
) -> None:
    await asyncio.to_thread(arrived.wait)
    tasks = [
        asyncio.create_task(contend())
        for contend in contenders(cell, lock, tally, mine, timed, asyncio.sleep)
    ]
    while not tally.over:  # noqa: ASYNC110 - another thread ends it
        await asyncio.sleep(BEAT)
    await dismiss(tasks, peer)
