"""One sample of a peer in a cell: each kind of workload has a module of its own."""

from __future__ import annotations

import gc

from ..cells import Cell
from ..peers import Peer
from .mixed import contend_mixed
from .tally import Result, Stuck
from .tasks import contend_in_tasks
from .threads import contend_in_threads
from .uncontended import enter_free_lock
from .waiters import measure_memory, wait_and_drain

__all__ = ["Result", "Stuck", "take_sample"]


def take_sample(peer: Peer, cell: Cell, mode: str, seconds: float) -> Result:
    """Measure `peer` once in `cell`; `mode` is "count", "timed" or "memory".

    The garbage collector stays on, as in the programs that use these locks, and starts clean.
    """
    gc.collect()
    if cell.workload == "waiters":
        return (
            measure_memory(peer, cell) if mode == "memory" else wait_and_drain(peer, cell, seconds)
        )
    if cell.workload == "uncontended":
        return enter_free_lock(peer, cell, seconds)
    contend = {
        "tasks": contend_in_tasks,
        "threads": contend_in_threads,
        "mixed": contend_mixed,
    }[cell.workload]
    return contend(peer, cell, seconds, mode == "timed")
