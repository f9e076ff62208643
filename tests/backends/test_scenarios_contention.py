"""Risk: of many who want a lock two are inside; or each of them asks the server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from backofflock import ThreadDistributedLock, connect

from .fleet import SERVERS, new_name
from .processes import Worker
from .proxy import Proxy
from .servers.base import Server

PROCESSES = ("asyncio", "trio", "threads", "asyncio", "trio", "threads", "asyncio", "trio")
TASKS = 125

WATCHED = 3.0
"""Seconds for which the requests of those who wait are counted."""

REQUESTS = 6.0
"""Requests that one process may send in a second while it waits: its schedule makes that 2.7, of
one or two requests each. If each of its tasks asked for itself, it were 340."""


class Visit(NamedTuple):
    """A line of the log."""

    act: str
    fence: int
    process: int


def visits(log: Path) -> Iterator[Visit]:
    for line in log.read_text().splitlines():
        act, fence, process = line.split()
        yield Visit(act, int(fence), int(process))


@pytest.mark.parametrize("server", ["file", *SERVERS], indirect=True)
@pytest.mark.timeout(300)
def test_a_thousand_contenders(server: Server, tmp_path: Path) -> None:
    name, log = new_name("contended"), tmp_path / "log"
    log.touch()
    with ExitStack() as stack:
        proxy = None
        url = server.url()
        if server.port:
            proxy = stack.enter_context(Proxy(server.port))
            url = server.url(proxy.port)
        backend = connect(server.url())
        stack.callback(getattr(backend, "close", lambda: None))
        lock = ThreadDistributedLock(name, backend)
        with lock as first:
            workers = [
                stack.enter_context(
                    Worker(url=url, name=name, host=host, tasks=TASKS, log=str(log))
                )
                for host in PROCESSES
            ]
            for worker in workers:
                assert worker.expect("waiting")["tasks"] == TASKS - 1, "one asks, the others queue"
            if proxy is not None:
                time.sleep(1.0)  # until the delays have reached their cap
                before = proxy.requests
                time.sleep(WATCHED)
                each = (proxy.requests - before) / WATCHED / len(workers)
                assert 0.5 < each < REQUESTS, f"each process sends {each:.1f} requests a second"
        results = [worker.expect("done", 240.0) for worker in workers]
        for worker in workers:
            worker.end()
    total = len(PROCESSES) * TASKS
    assert sum(result["acquired"] for result in results) == total
    assert sum(result["lost"] for result in results) == 0
    written = list(visits(log))
    assert len(written) == 2 * total
    entered, left = written[::2], written[1::2]
    for enter, leave in zip(entered, left, strict=True):
        assert (enter.act, leave.act) == ("enter", "leave"), "two were inside"
        assert enter[1:] == leave[1:], "two were inside"
    fences = [first.fence, *(visit.fence for visit in entered)]
    assert all(earlier < later for earlier, later in pairwise(fences)), "fences must grow"
