"""Threads that contend."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..cells import Cell
from ..peers import Peer
from .contenders import count_in_thread, thread_sections, time_in_thread
from .tally import Result, Tally, join_all
from .tasks import failed_of

__all__ = ["contend_in_threads", "start_threads"]


def contend_in_threads(peer: Peer, cell: Cell, seconds: float, timed: bool) -> Result:
    """Let ``cell.threads`` threads contend for `seconds`."""
    lock = peer.make()
    tally = Tally(0, cell.threads, failed_of(peer, lock))
    gate = threading.Event()
    threads: list[threading.Thread] = []
    try:
        start_threads(threads, lock, tally, cell, timed, gate)
        tally.begin()
        gate.set()
        time.sleep(seconds)
        tally.finish()
    finally:
        tally.over = True
        gate.set()
        join_all(threads)
    return tally.result(timed)


def start_threads(
    started: list[threading.Thread],
    lock: object,
    tally: Tally,
    cell: Cell,
    timed: bool,
    gate: threading.Event,
) -> None:
    """Start the cell's threads, which contend once the gate opens, and note each in `started`."""
    hold, think = thread_sections(cell.section, cell.think)
    contend: Callable[..., None] = time_in_thread if timed else count_in_thread

    def run(me: int) -> None:
        gate.wait()
        contend(lock, tally, me, hold, think)

    for number in range(cell.threads):
        thread = threading.Thread(target=run, args=(tally.tasks + number,), daemon=True)
        thread.start()
        started.append(thread)
