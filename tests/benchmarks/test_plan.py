"""Which samples a run takes, in which order, and what ``--only`` selects."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import closing
from dataclasses import replace
from itertools import groupby

import pytest

from backofflock import POLLING_SCHEDULE
from benchmarks.bars import bars_for
from benchmarks.cells import CELLS
from benchmarks.peers import Peer, all_peers
from benchmarks.runner import Step, plan
from benchmarks.selection import NoSuchName, select
from benchmarks.variants import variants

BARS = bars_for((3, 12))
PRESENT = tuple(replace(peer, missing=None) for peer in all_peers())


def _plan(rounds: int, *, quick: bool = False, peers: tuple[Peer, ...] = PRESENT) -> list[Step]:
    return plan(CELLS, peers, rounds, BARS, quick=quick)


def _key(step: Step) -> tuple[int, str, str]:
    return step.round, step.cell.id, step.mode


def test_peers_take_turns_within_a_round() -> None:
    """The rounds are interleaved peer by peer: none is measured twice before all were once."""
    blocks = [list(steps) for _, steps in groupby(_plan(2), _key)]
    assert len(blocks) == len({_key(block[0]) for block in blocks})
    for block in blocks:
        assert max(Counter(step.peer.name for step in block).values()) == 1


def test_one_contender_alone_is_measured_as_often_as_several() -> None:
    rounds = {
        cell: {s.round for s in _plan(5) if (s.cell.id, s.peer.name) == (cell, "ThreadBackoffLock")}
        for cell in ("threads/1/cpu", "threads/2/cpu", "threads/1/io")
    }
    assert rounds["threads/1/cpu"] == rounds["threads/2/cpu"] == set(range(10))
    assert rounds["threads/1/io"] == {0, 3}  # no bar is about it


def test_the_order_of_the_peers_changes_and_can_be_repeated() -> None:
    steps = [step for step in _plan(1) if step.cell.id == "uncontended/asyncio"]
    orders = {tuple(s.peer.name for s in block) for _, block in groupby(steps, _key)}
    assert len(orders) == 10
    assert _plan(1) == _plan(1)


@pytest.mark.parametrize(("rounds", "quick"), [(1, False), (1, True)])
def test_a_single_round_measures_every_bar_even_a_quick_one(rounds: int, quick: bool) -> None:
    steps = _plan(rounds, quick=quick)
    for bar in BARS:
        peers = {bar.peer} | ({bar.against} if bar.against else set())
        taken = {
            step.peer.name
            for step in steps
            if step.cell.id == bar.cell and step.mode in step.cell.modes_of(bar.metric)
        }
        assert peers <= taken, bar


def test_the_whole_takes_less_than_a_quarter_of_an_hour_and_a_quick_run_less_than_a_minute() -> (
    None
):
    assert sum(step.cost for step in _plan(5)) < 15 * 60
    assert sum(step.cost for step in _plan(2, quick=True)) < 50


def test_a_whole_run_measures_every_peer_in_every_cell_it_can_serve() -> None:
    taken = {(step.cell.id, step.peer.name) for step in _plan(1)}
    assert taken == {
        (cell.id, peer.name) for cell in CELLS for peer in PRESENT if cell.host in peer.hosts
    }


def test_what_a_bar_compares_is_measured_more_often_in_a_round() -> None:
    for cell, ours, others in (
        ("mixed/4+4/1ms", 7, 1),
        ("tasks/asyncio/10/1ms", 2, 1),
        ("uncontended/asyncio", 10, 10),
    ):
        taken = Counter(step.peer.name for step in _plan(1) if step.cell.id == cell)
        named = {name for bar in BARS if bar.cell == cell for name in (bar.peer, bar.against)}
        assert len(taken) > len(named)
        assert taken == {name: ours if name in named else others for name in taken}
    every = Counter(s.peer.name for s in _plan(1) if s.cell.id == "mixed/loops-8/1ms")
    assert set(every.values()) == {3}  # no bar is about it


def test_a_missing_peer_is_not_measured() -> None:
    peers = tuple(
        replace(peer, missing="gone") if peer.package == "trio" else peer for peer in PRESENT
    )
    assert "trio.Lock" not in {step.peer.name for step in _plan(1, peers=peers)}


def test_the_cells_are_those_of_the_bars_table_and_have_names_of_their_own() -> None:
    names = [cell.id for cell in CELLS]
    assert len(names) == len(set(names))
    for size in (2, 10, 100, 1000, 10000):
        assert {f"tasks/asyncio/{size}/{hold}" for hold in ("turn", "1ms", "random")} <= set(names)
    assert {"threads/1/cpu", "threads/1/io"} <= set(names)  # what several can reach at the most
    for size in (2, 8, 32):
        for section in ("empty", "cpu", "io"):
            assert {f"threads/{size}/{section}", f"threads/{size}/{section}/think"} <= set(names)


def _selected(*patterns: str) -> tuple[list[str], list[str]]:
    cells, peers = select(patterns, CELLS, PRESENT)
    return [cell.id for cell in cells], [peer.name for peer in peers]


def test_only_selects_workloads_by_their_beginning_and_by_pattern() -> None:
    everybody = [peer.name for peer in PRESENT]
    assert _selected("threads/8/empty") == (["threads/8/empty", "threads/8/empty/think"], everybody)
    cells, _ = _selected("tasks/asyncio/*/turn")
    assert cells == [f"tasks/asyncio/{size}/turn" for size in (2, 10, 100, 1000, 10000)]
    assert {cell.partition("/")[0] for cell in _selected("mixed")[0]} == {"mixed"}


def test_only_selects_peers_by_name_and_by_pattern() -> None:
    assert _selected("BackoffLock")[1] == ["BackoffLock"]
    assert _selected("*BackoffLock")[1] == ["BackoffLock", "ThreadBackoffLock"]
    # The name is no pattern here, although it could be read as one.
    assert _selected("anyio.Lock(fast_acquire=True)")[1] == ["anyio.Lock(fast_acquire=True)"]
    cells, peers = _selected("waiters", "asyncio.Lock")
    assert (cells, peers) == (["waiters/1000", "waiters/10000"], ["asyncio.Lock"])


@pytest.mark.parametrize("pattern", ["thread", "asyncio.lock", "", "tasks/asyncio/3"])
def test_only_refuses_what_names_nothing(pattern: str) -> None:
    with pytest.raises(NoSuchName, match="neither a workload nor a peer"):
        _selected("threads", pattern)


def test_variants_of_our_defaults_take_part_only_by_name() -> None:
    peers = (*PRESENT, *variants())
    names = [peer.name for peer in peers]
    assert len(names) == len(set(names))
    assert select(["threads/8/empty"], CELLS, peers)[1] == list(PRESENT)
    _, chosen = select(["ThreadBackoffLock(*)"], CELLS, peers)
    assert {peer.name.partition("(")[0] for peer in chosen} == {"ThreadBackoffLock"}


def test_a_variant_differs_from_its_lock_in_what_it_is_named_after() -> None:
    made = {peer.name: peer.make() for peer in variants()}
    assert made["ThreadBackoffLock(fair_after=0.002)"]._thread_window == 0.002
    assert made["BackoffLock(POLLING_SCHEDULE)"]._contention.schedule == POLLING_SCHEDULE
    assert made["BackoffLock(grace=0.03)"]._contention.grace == 0.03
    for name, seconds in (("queues at once", None), ("gives way for 200 us", 0.0002)):
        assert made[f"ThreadBackoffLock({name})"]._seconds == seconds
    with closing(asyncio.new_event_loop()) as loop:
        alarm = made["ThreadBackoffLock(call_soon_threadsafe)"]._alarms[loop]
        assert alarm.post == loop.call_soon_threadsafe
