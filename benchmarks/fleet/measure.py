"""The taking of samples: servers, workers, and what is read from both."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from math import fsum
from time import perf_counter
from typing import cast

from .. import runner
from ..peers import Peer
from ..runner import Step
from ..samples import Sample
from ..workloads.tally import Result, Stuck, Tally
from .cells import FleetCell
from .counting import FleetTally
from .crew import Broken, Crew
from .jobs import Job, Window
from .servers import Servers

__all__ = ["measure", "merged", "take_sample"]

START = 0.02
"""Seconds from the word to the workers until they begin together."""


def measure(steps: Sequence[Step], crew: Crew, servers: Servers) -> Iterator[Sample]:
    """Take the samples. A peer that does not end a sample is left out of that cell from there."""

    def take(step: Step) -> Result:
        return take_sample(crew, servers, step.peer, cast("FleetCell", step.cell), step.seconds)

    return runner.measure(steps, take, (Stuck, Broken))


def take_sample(
    crew: Crew, servers: Servers, peer: Peer, cell: FleetCell, seconds: float
) -> Result:
    """Measure `peer` once in `cell`."""
    server = servers[cell.backend]
    each, more = divmod(cell.contenders, cell.processes)
    shares = [each + (number < more) for number in range(cell.processes)]
    name = f"fleet-{secrets.token_hex(8)}"
    crew.start([Job(peer.name, cell, server.url(), name, share) for share in shares])
    before = servers.count(cell.backend)
    begin = perf_counter() + START
    window = Window(begin, begin + seconds)
    crew.contend(window)
    if cell.workload == "contended":  # they go on until they have left: the server is asked before
        time.sleep(max(0.0, window.end - perf_counter()))
        after = servers.count(cell.backend)
        tallies = crew.tallies(window)
    else:
        tallies = crew.tallies(window)
        after = servers.count(cell.backend)
    crew.finish()
    result, acquisitions = merged(tallies)
    if not server.port:
        result.figures.pop("requests", None)
    if acquisitions:
        for metric, counted in after.items():
            result.figures[metric] = (counted - before[metric]) / acquisitions
    if cell.workload == "uncontended":
        result.figures.pop("jain")
        result.figures["entry"] = 1.0 / result.figures["throughput"]
    elif cell.workload == "burst":
        result.figures["drain"] = acquisitions / result.figures["throughput"]
    return result


def merged(tallies: Sequence[FleetTally]) -> tuple[Result, int]:
    """Return the figures of a sample whose contenders were in several processes.

    The second is how often they had the lock, all together.
    """
    whole = Tally(0, sum(len(tally.counts) for tally in tallies))
    whole.counts = [count for tally in tallies for count in tally.counts]
    whole.waits = [waits for tally in tallies for waits in tally.waits]
    whole.seconds = max(tally.seconds for tally in tallies)
    whole.cpu = fsum(tally.cpu for tally in tallies)
    first = 0
    for tally in tallies:
        whole._unfinished += [(first + me, wait) for me, wait in tally._unfinished]
        first += len(tally.counts)
    result, acquisitions = whole.result(timed=True), sum(whole.counts)
    if acquisitions:
        result.figures["requests"] = sum(tally.requests for tally in tallies) / acquisitions
    held = fsum(tally.held for tally in tallies)
    if held:
        result.figures["occupied"] = held / whole.seconds
    return result, acquisitions
