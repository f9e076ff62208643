"""A moment of each kind of sample, on the real servers, with the real peers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest

from benchmarks.cells import Cell
from benchmarks.fleet import in_tasks, in_threads
from benchmarks.fleet.bars import OURS
from benchmarks.fleet.cells import BACKENDS, FleetCell
from benchmarks.fleet.counting import FleetTally
from benchmarks.fleet.crew import Broken, Crew
from benchmarks.fleet.jobs import Job, Window
from benchmarks.fleet.measure import measure, merged, take_sample
from benchmarks.fleet.peers import all_peers, find_peer
from benchmarks.fleet.servers import Servers
from benchmarks.peers import Peer
from benchmarks.runner import Step
from benchmarks.workloads import Result
from benchmarks.workloads.tally import Stuck

from .sampling import long_enough

MOMENT = 0.1
KINDS = ("asyncio", "threads")


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers(BACKENDS) as servers:
        assert not servers.missing
        yield servers


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew() as crew:
        yield crew


def _cell(place: str, workload: str, size: int = 1, processes: int = 1) -> FleetCell:
    in_asyncio = place.endswith("asyncio")
    return FleetCell(
        workload,
        f"{place}/{'uncontended' if workload == 'uncontended' else 'contended'}",
        {"uncontended": "free", "burst": "once", "contended": "empty"}[workload],
        tasks=size if in_asyncio else 0,
        threads=0 if in_asyncio else size,
        processes=processes,
    )


def _served(crew: Crew, servers: Servers, peer: Peer, cell: FleetCell) -> Result:
    return long_enough(lambda seconds: take_sample(crew, servers, peer, cell, seconds), MOMENT)


PAIRS = [
    pytest.param(host, peer.name, id=f"{host}-{peer.name}")
    for peer in all_peers()
    for host in sorted(peer.hosts)
]


@pytest.mark.parametrize(("host", "name"), PAIRS)
def test_every_peer_serves_wherever_it_says_it_does(
    host: str, name: str, crew: Crew, servers: Servers
) -> None:
    place, _, workload = host.rpartition("/")
    cell = _cell(place, workload, size=1 if workload == "uncontended" else 3)
    figures = _served(crew, servers, find_peer(name, host), cell).figures
    assert figures["throughput"] > 0
    assert figures["cpu"] > 0
    assert 0 <= figures["p50"] <= figures["p99"] <= figures["longest"]
    assert ("jain" in figures) == (workload == "contended")
    assert ("entry" in figures) == (workload == "uncontended")
    assert ("requests" in figures) == (cell.backend != "file")
    assert ("commands" in figures) == ("server cpu" in figures) == (cell.backend == "redis")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["redis", "postgres"])
def test_a_free_lock_takes_two_requests(
    backend: str, kind: str, crew: Crew, servers: Servers
) -> None:
    cell = _cell(f"{backend}/{kind}", "uncontended")
    ours = find_peer(OURS[kind], cell.host)
    assert _served(crew, servers, ours, cell).figures["requests"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_redis_counts_what_scripts_do_as_well(kind: str, crew: Crew, servers: Servers) -> None:
    """SET, and a script that calls GET and DEL: two requests, four commands."""
    cell = _cell(f"redis/{kind}", "uncontended")
    name = {"asyncio": "redis.asyncio calls", "threads": "redis calls"}[kind]
    figures = _served(crew, servers, find_peer(name, cell.host), cell).figures
    assert (figures["requests"], figures["commands"]) == (2, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_time_in_the_section_is_that_of_the_holds(
    kind: str, crew: Crew, servers: Servers
) -> None:
    cell = replace(_cell(f"file/{kind}", "contended", size=2), section="1ms")
    figures = _served(crew, servers, find_peer(OURS[kind], cell.host), cell).figures
    # No sleep of 1 ms is shorter, and a sample has its last one cut off.
    assert figures["occupied"] > 0.0008 * figures["throughput"]
    assert figures["occupied"] < 1.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workload", ["contended", "burst"])
def test_contenders_are_spread_over_processes(
    workload: str, kind: str, crew: Crew, servers: Servers
) -> None:
    cell = _cell(f"file/{kind}", workload, size=5, processes=2)
    result = _served(crew, servers, find_peer(OURS[kind], cell.host), cell)
    assert 1 / 5 <= result.figures["jain"] <= 1 + 1e-9
    if workload == "burst":
        assert result.figures["jain"] == 1  # each exactly once
        assert result.figures["throughput"] * result.figures["drain"] == pytest.approx(5)


@pytest.mark.parametrize(("host", "name"), [p for p in PAIRS if "/contended" in str(p.values[0])])
def test_no_peer_wins_by_letting_two_in(host: str, name: str, servers: Servers) -> None:
    """As they are set up here: some locks exclude processes and not threads, or threads only."""
    peer, backend = find_peer(name, host), host.partition("/")[0]
    inside, most, url, lock = 0, 0, servers[backend].url(), "exclusion"
    mutex = threading.Lock()

    def enter(change: int) -> None:
        nonlocal inside, most
        with mutex:
            inside += change
            most = max(most, inside)

    async def in_task(lock: Any) -> None:
        for _ in range(3):
            async with lock:
                enter(1)
                await asyncio.sleep(0.002)
                enter(-1)

    async def all_tasks() -> None:
        async with peer.make(url, lock, 4) as locks:
            await asyncio.gather(*map(in_task, locks))

    def in_thread(lock: Any) -> None:
        for _ in range(3):
            with lock:
                enter(1)
                threading.Event().wait(0.002)
                enter(-1)

    if "/asyncio/" in host:
        asyncio.run(all_tasks())
    else:
        with peer.make(url, lock, 4) as locks:
            threads = [threading.Thread(target=in_thread, args=(lock,)) for lock in locks]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert (inside, most) == (0, 1)


def test_what_several_processes_have_counted_is_added_up() -> None:
    one, other = FleetTally(0, 2), FleetTally(0, 1)
    one.counts, other.counts = [3, 1], [2]
    one.waits, other.waits = [[0.1, 0.2, 0.3], [0.5]], [[0.1, 0.1]]
    one.seconds, other.seconds = 2.0, 1.9
    one.cpu, other.cpu = 0.6, 0.3
    one.requests, other.requests = 10, 5
    other._unfinished = [(0, 1.5)]
    result, acquisitions = merged([one, other])
    assert acquisitions == 6
    assert result.figures["throughput"] == pytest.approx(3.0)
    assert result.figures["cpu"] == pytest.approx(0.15)
    assert result.figures["requests"] == pytest.approx(2.5)
    assert result.figures["longest"] == 1.5  # who still waits has waited until the end
    assert result.figures["p50"] == 0.2
    assert result.figures["jain"] == pytest.approx(36 / (3 * 14))


def test_a_sample_in_which_nobody_was_served_has_no_figures_per_acquisition() -> None:
    tally = FleetTally(0, 2)
    tally.seconds, tally.requests, tally._unfinished = 1.0, 40, [(0, 1.0), (1, 1.0)]
    result, acquisitions = merged([tally])
    assert acquisitions == 0
    assert result.figures["throughput"] == 0
    assert not {"requests", "cpu"} & result.figures.keys()


# -- what goes wrong -------------------------------------------------------------------------------


def _step(peer: Peer, cell: Cell, number: int = 0) -> Step:
    return Step(number, cell, peer, "count", 5 * MOMENT)


def test_a_peer_that_fails_is_reported_and_left_out_and_the_others_go_on(servers: Servers) -> None:
    """The plain calls do not wait: with two of them, one finds the key taken."""
    cell = replace(_cell("redis/threads", "contended", size=2), host="redis/threads/uncontended")
    plain, ours = (find_peer(name, cell.host) for name in ("redis calls", OURS["threads"]))
    with Crew() as crew:
        steps = [_step(peer, cell, number) for number in range(2) for peer in (plain, ours)]
        samples = list(measure(steps, crew, servers))
    assert [sample.peer for sample in samples] == [plain.name, ours.name, ours.name]
    assert samples[0].failure == "RuntimeError: somebody else has the key"
    assert not samples[0].figures
    assert all(sample.figures["throughput"] > 0 for sample in samples[1:])


def test_a_worker_that_dies_is_noticed_and_replaced(servers: Servers) -> None:
    cell = _cell("file/threads", "contended", size=2)
    job = Job(OURS["threads"], cell, servers["file"].url(), "dies", 2)
    with Crew() as crew:
        crew.start([job])
        (process, _), *_ = crew._workers
        process.kill()
        with pytest.raises(Broken, match="ended with status -9"):
            crew.tallies(Window(0.0, perf_counter()))
        crew.start([job])
        (process, _), *_ = crew._workers
        process.kill()
        process.join()
        with pytest.raises(Broken, match="ended with status -9"):
            crew.contend(Window(0.0, perf_counter()))
        ours = find_peer(OURS["threads"], cell.host)
        assert _served(crew, servers, ours, cell).figures["throughput"] > 0


def test_ctrl_c_is_not_for_the_workers(servers: Servers) -> None:
    cell = _cell("file/threads", "contended", size=2)
    with Crew() as crew:
        crew.start([Job(OURS["threads"], cell, servers["file"].url(), "interrupted", 2)])
        (process, _), *_ = crew._workers
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        now = perf_counter()
        window = Window(now, now + 5 * MOMENT)
        crew.contend(window)
        (tally,) = crew.tallies(window)
        crew.finish()
    assert sum(tally.counts) > 0


def test_a_worker_that_does_not_answer_is_stuck_and_ended(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.fleet.crew.PATIENCE", 0.0)
    monkeypatch.setattr("benchmarks.fleet.crew.GRACE", 0.0)
    with Crew() as crew, monkeypatch.context() as patient:
        patient.setattr("benchmarks.fleet.crew.PATIENCE", 30.0)
        cell = _cell("file/threads", "contended", size=1)
        crew.start([Job(OURS["threads"], cell, servers["file"].url(), "stuck", 1)])
        (process, _), *_ = crew._workers
        patient.undo()
        with pytest.raises(Stuck):
            crew.tallies(Window(0.0, perf_counter()))  # no window was ever sent
        with pytest.raises(ValueError, match="closed"):
            process.is_alive()


def test_a_server_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Servers.__init__.__globals__["CLASSES"], "file", "NoSuchServer")
    with Servers({"file", "redis"}) as servers:
        assert "redis" in servers
        assert "file" not in servers
        assert "NoSuchServer" in servers.missing["file"]
        assert [version.partition(" ")[0] for version in servers.versions()] == ["redis"]


def test_the_peers_of_tasks_and_of_threads_are_set_up_alike() -> None:
    assert set(in_threads.__all__) - set(in_tasks.__all__) == {"fasteners_locks"}
