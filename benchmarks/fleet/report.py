"""RESULTS.md of the distributed locks, written by the suite itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from ..bars import Verdict
from ..peers import Peer
from ..report import charts_of, head_of, missing_of, table_part, write_parts
from ..samples import Sample
from ..tables import cells_of
from .cells import CELLS
from .charts import write_charts
from .tables import cell_table

__all__ = ["write_report"]

TITLES = {"redis": "Redis", "file": "Files", "postgres": "PostgreSQL", "etcd": "etcd"}

METHOD = """\
Each server is a real one on loopback, started for the run; the contenders are tasks or threads of
one worker process or of several, fresh interpreters all of them and none of them the suite's. In
the names of the workloads 100 are the contenders of one process and 4x25 those of four. All peers
of a workload take turns, round by round, in an order that is drawn anew for every round. A ratio is
taken within a round; the tables give the median of the rounds' ratios, with the quartiles beside
it, and the medians of the other figures. What no bar names takes part in the long samples of the
first round alone.

Contenders take the lock again and again, at once or with some thinking in between, or once each.
Where they ask again at once, a lock that lets whoever releases it take it again looks fast: it
serves one of them at the speed of a free lock and starves the others. The waits and Jain's index,
1 where all got equally much and 1/n where one of n got everything, show that. Waits that are not
over at the end of a sample count as long as they have lasted.

Where the lock is held for 1 ms, the time in the section is the share of the sample in which
somebody was there, and cannot be more than all of it. The bar is about that share there. It is not
so many times the throughput of another lock, since 1.5 times that of one which has somebody there
for more than two thirds of the time is out of reach for all.

The calls of a client are those that a lock of the same kind cannot do without: for Redis a SET with
NX and PX and a script that compares and deletes, for PostgreSQL pg_try_advisory_lock and
pg_advisory_unlock on a connection that stays, for etcd a lease, a transaction and the lease's end.
They neither wait nor renew, and have no fence.

CPU is that of the clients' processes, all their threads, per acquisition; connections are made
before a sample begins. Requests are counted where the clients send them, an acquisition and its
release together with the tries that failed. Commands and the server's CPU are what Redis says of
itself; its commands are also those inside scripts. PostgreSQL uses its disk as it does by
default. A dash stands where there is nothing to count."""


def write_report(
    directory: Path,
    command: str,
    facts: dict[str, str],
    peers: Sequence[Peer],
    missing: dict[str, str],
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    interrupted: bool,
) -> Path:
    """Write RESULTS.md and ``charts/`` into `directory`, and return the path of the former."""
    charts = write_charts(directory / "charts", samples)
    head = head_of(
        "# Results: distributed locks",
        command,
        facts,
        missing | missing_of(peers),
        samples,
        verdicts,
        interrupted,
        METHOD,
    )
    return write_parts(directory, [*head, *charts_of(charts), *_workloads(samples)])


def _workloads(samples: Sequence[Sample]) -> list[str]:
    about = {cell.id: cell.about for cell in CELLS}
    parts = []
    for backend, cells in groupby(
        sorted(cells_of(samples), key=lambda cell: list(TITLES).index(cell.partition("/")[0])),
        key=lambda cell: cell.partition("/")[0],
    ):
        parts.append(f"## {TITLES[backend]}")
        for cell in cells:
            head, rows = cell_table(samples, cell)
            parts += [f"### {cell}", about[cell], table_part(head, rows)]
    return parts
