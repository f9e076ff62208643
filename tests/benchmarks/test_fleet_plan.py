"""What the suite of distributed locks would measure, and what its bars are about."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby

import pytest

from benchmarks.bars import Bar
from benchmarks.fleet.bars import BARS, OURS, PLAIN
from benchmarks.fleet.cells import BACKENDS, CELLS, FleetCell
from benchmarks.fleet.command import OVERHEAD
from benchmarks.fleet.peers import all_peers, find_peer
from benchmarks.fleet.tables import cell_table, reference_of
from benchmarks.fleet.words import SHORT
from benchmarks.peers import Peer
from benchmarks.runner import Step, plan
from benchmarks.samples import Sample
from benchmarks.selection import NoSuchName, select
from benchmarks.words import METRICS, is_ours

PRESENT = tuple(replace(peer, missing=None) for peer in all_peers())


def _plan(rounds: int, *, quick: bool = False, peers: tuple[Peer, ...] = PRESENT) -> list[Step]:
    return plan(CELLS, peers, rounds, BARS, quick=quick)


def _minutes(steps: list[Step]) -> float:
    return sum(step.cost + OVERHEAD for step in steps) / 60


def test_the_cells_have_names_of_their_own() -> None:
    names = [cell.id for cell in CELLS]
    assert len(names) == len(set(names))
    for kind in ("asyncio", "threads"):
        assert {f"{backend}/{kind}/uncontended" for backend in BACKENDS} <= set(names)
        for who in ("2", "2x1", "10", "2x5", "100", "4x25"):
            assert f"redis/{kind}/{who}/empty" in names
        for what in ("empty", "1ms", "once", "empty/think"):
            assert {f"redis/{kind}/100/{what}", f"redis/{kind}/4x25/{what}"} <= set(names)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
def test_a_cell_is_what_its_name_says(cell: FleetCell) -> None:
    backend, kind, who = cell.id.split("/")[:3]
    assert (cell.backend, cell.in_tasks) == (backend, kind == "asyncio")
    assert (cell.tasks if cell.in_tasks else cell.threads) == cell.contenders
    if who == "uncontended":
        assert (cell.contenders, cell.processes) == (1, 1)
    elif "x" in who:
        processes, each = map(int, who.split("x"))
        assert (cell.processes, cell.contenders) == (processes, processes * each)
    else:
        assert (cell.processes, cell.contenders) == (1, int(who))
    assert cell.about.endswith(".")
    assert ("thinking" in cell.about) == cell.id.endswith("/think")


def test_every_peer_serves_somewhere_and_ours_serve_everywhere() -> None:
    hosts = {cell.host for cell in CELLS}
    for peer in PRESENT:
        assert peer.hosts & hosts, peer.name
    for cell in CELLS:
        ours = OURS["asyncio" if cell.in_tasks else "threads"]
        assert find_peer(ours, cell.host).name == ours


def test_a_worker_finds_exactly_one_peer_by_name_and_host() -> None:
    pairs = Counter((peer.name, host) for peer in PRESENT for host in peer.hosts)
    assert set(pairs.values()) == {1}


def test_the_plain_calls_are_there_where_nobody_else_is_and_nowhere_else() -> None:
    """They do not wait, so that they would fail where somebody contends."""
    for place, name in PLAIN.items():
        found = [peer for peer in PRESENT if peer.name == name]
        assert [peer.hosts for peer in found] == [{f"{place}/uncontended"}]


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: f"{bar.cell} {bar.metric} {bar.against}")
def test_every_bar_is_about_something_that_is_measured(bar: Bar) -> None:
    (cell,) = [cell for cell in CELLS if cell.id == bar.cell]
    names = {peer.name for peer in PRESENT if cell.host in peer.hosts}
    assert bar.peer in names
    assert bar.against is None or bar.against in names
    assert bar.metric in METRICS
    assert bar.metric in SHORT
    modes = {"count"} if cell.count_seconds else {"timed"}
    assert cell.modes_of(bar.metric) <= modes


def test_the_bars_are_the_promised_ones() -> None:
    limits = {(bar.cell, bar.metric, bar.against): bar.limit for bar in BARS}
    assert limits["redis/asyncio/uncontended", "entry", "redis.asyncio calls"] == 1.1
    assert limits["redis/threads/uncontended", "entry", "redis calls"] == 1.1
    assert limits["redis/asyncio/uncontended", "requests", None] == 2
    assert limits["postgres/threads/uncontended", "requests", None] == 2
    assert limits["etcd/threads/uncontended", "requests", None] == 3
    assert limits["file/asyncio/uncontended", "entry", "filelock.AsyncFileLock"] == 0.5
    assert limits["file/threads/uncontended", "entry", "filelock.FileLock"] == 0.5
    for who in ("100", "4x25"):
        for section in ("empty", "1ms", "once", "empty/think"):
            cell = f"redis/threads/{who}/{section}"
            assert limits[cell, "requests", "redis.lock.Lock"] == 0.5
            if section == "1ms":  # 1.5 times redis-py's would be more time than there is
                assert limits[cell, "occupied", None] == 0.80
            else:
                assert limits[cell, "throughput", "redis.lock.Lock"] == 1.5


def test_peers_take_turns_within_a_round() -> None:
    def key(step: Step) -> tuple[int, str, str]:
        return step.round, step.cell.id, step.mode

    blocks = [list(steps) for _, steps in groupby(_plan(2), key)]
    assert len(blocks) == len({key(block[0]) for block in blocks})
    for block in blocks:
        assert max(Counter(step.peer.name for step in block).values()) == 1


@pytest.mark.parametrize("quick", [False, True])
def test_a_single_round_measures_every_bar_even_a_quick_one(quick: bool) -> None:
    taken = {(step.cell.id, step.peer.name) for step in _plan(1, quick=quick)}
    for bar in BARS:
        assert {(bar.cell, bar.peer), (bar.cell, bar.against or bar.peer)} <= taken


def test_a_whole_run_measures_every_peer_in_every_cell_it_can_serve() -> None:
    assert {(step.cell.id, step.peer.name) for step in _plan(1)} == {
        (cell.id, peer.name) for cell in CELLS for peer in PRESENT if cell.host in peer.hosts
    }


def test_the_whole_takes_less_than_a_quarter_of_an_hour_and_a_quick_run_a_few_minutes() -> None:
    assert _minutes(_plan(5)) < 15
    assert _minutes(_plan(2, quick=True)) < 3


def _selected(*patterns: str) -> tuple[list[str], list[str]]:
    cells, peers = select(patterns, CELLS, PRESENT)
    return [cell.id for cell in cells], [peer.name for peer in peers]


def test_only_selects_by_the_beginning_of_a_name_and_by_pattern() -> None:
    assert {cell.partition("/")[0] for cell in _selected("postgres")[0]} == {"postgres"}
    cells, peers = _selected("redis/asyncio/100", "DistributedLock")
    assert len(cells) == 4
    assert peers == ["DistributedLock"]
    assert len(_selected("*/uncontended")[0]) == 2 * len(BACKENDS)
    # Its name is no pattern here, although it could be read as one.
    assert _selected("redis.lock.Lock(sleep=0.01)")[1] == ["redis.lock.Lock(sleep=0.01)"]
    with pytest.raises(NoSuchName, match="neither a workload nor a peer"):
        _selected("mysql")


def test_what_a_table_compares_with_is_there() -> None:
    for cell in CELLS:
        assert reference_of(cell.id) in {p.name for p in PRESENT if cell.host in p.hosts}, cell.id


def test_a_table_has_the_best_first_and_the_metrics_that_were_measured() -> None:
    cell = "redis/threads/100/empty"
    figures = {"throughput": 100.0, "requests": 2.0, "jain": 1.0}
    samples = [
        Sample(0, cell, "redis.lock.Lock", "timed", {"throughput": 50.0, "requests": 4.0}),
        Sample(0, cell, OURS["threads"], "timed", figures),
    ]
    head, rows = cell_table(samples, cell)
    assert head == [
        "peer", "throughput ÷ redis.lock.Lock", "throughput", "jain", "requests", "rounds",
    ]  # fmt: skip
    assert rows[0] == [OURS["threads"], "2.00 (2.00 to 2.00)", "100/s", "1.000", "2", "1"]
    assert rows[1] == ["redis.lock.Lock", "1.00 (1.00 to 1.00)", "50/s", "-", "4", "1"]
    assert is_ours(rows[0][0])
    assert not is_ours(rows[1][0])
