"""Risk: processes that hand a lock over among their own tasks forget that there are others."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from backofflock import ThreadDistributedLock, connect

from ..contract.hosts import ON_ASYNCIO, ON_THREADS, ON_TRIO, Host
from ..distributed import memory
from .fleet import by_host, new_name
from .processes import Worker
from .proxy import Proxy
from .servers.base import Server
from .test_scenarios_contention import Visit, visits

TASKS = 10
SECTIONS = 100
TTL = 2.0


@pytest.mark.parametrize("server", ["redis", "postgres"], indirect=True)
@pytest.mark.parametrize(**by_host(ON_ASYNCIO, ON_TRIO, ON_THREADS))
@pytest.mark.timeout(180)
def test_two_processes_of_which_one_is_killed(server: Server, host: Host, tmp_path: Path) -> None:
    name, log = new_name("handed over"), tmp_path / "log"
    log.touch()
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(server.port))
        backend = connect(server.url())
        stack.callback(backend.close)  # type: ignore[attr-defined]

        def contender(sections: int) -> Worker:
            return stack.enter_context(
                Worker(
                    url=server.url(proxy.port),
                    name=name,
                    host=host.name,
                    ttl=TTL,
                    tasks=TASKS,
                    sections=sections,
                    log=str(log),
                )
            )

        with ThreadDistributedLock(name, backend, ttl=60.0) as first:
            lasting, killed = contender(SECTIONS), contender(1_000_000)
            for worker in (lasting, killed):
                assert worker.expect("waiting")["tasks"] == TASKS - 1
        before = proxy.requests
        memory.until(lambda: len(seen_in(log)) == 2, 60.0)
        killed.kill()
        result = lasting.expect("done", 120.0)
        requests = proxy.requests - before
        lasting.end()
        with ThreadDistributedLock(name, backend, timeout=20.0) as last:
            pass
    written = list(visits(log))
    check(written, first.fence, last.fence)
    assert result["acquired"] == TASKS * SECTIONS
    assert result["lost"] == 0
    assert result["attempts"] < 0.5 * result["acquired"], "it is handed over"
    assert requests < len(written) / 2, "one request for each acquisition"


def seen_in(log: Path) -> set[str]:
    """Return the processes that have entered; the last line may not be whole yet."""
    return {line.rpartition(" ")[2] for line in log.read_text().splitlines()[:-1]}


def check(written: list[Visit], first: int, last: int) -> None:
    """Check that never two were inside, but for one that was killed there; and that fences grow."""
    entered = [visit for visit in written if visit.act == "enter"]
    fences = [first, *(visit.fence for visit in entered), last]
    assert all(earlier < later for earlier, later in pairwise(fences)), "fences must grow"
    unfinished = [
        enter
        for enter, leave in pairwise([*written, Visit("enter", 0, 0)])
        if enter.act == "enter" and leave != enter._replace(act="leave")
    ]
    assert len(unfinished) <= 1, f"two were inside: {unfinished}"
