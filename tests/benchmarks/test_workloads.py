"""Each kind of workload, run for a moment through the real peers."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from benchmarks.cells import Cell
from benchmarks.peers import Peer, all_peers, serving
from benchmarks.runner import Step, measure
from benchmarks.stats import jain
from benchmarks.workloads import Result, take_sample, tasks, waiters
from benchmarks.workloads.tally import SHARES, Tally

from .sampling import long_enough

MOMENT = 0.03
PEERS = all_peers()
CASES = {
    "uncontended-asyncio": Cell("uncontended", "asyncio", "free"),
    "uncontended-trio": Cell("uncontended", "trio", "free"),
    "uncontended-threads": Cell("uncontended", "threads", "free"),
    "asyncio": Cell("tasks", "asyncio", "turn", tasks=3),
    "trio": Cell("tasks", "trio", "turn", tasks=3),
    "threads": Cell("threads", "threads", "empty", threads=2),
    "mixed": Cell("mixed", "mixed", "turn", tasks=2, threads=2),
    "loops": Cell("mixed", "loops", "turn", tasks=2),
}


def _named(name: str) -> Peer:
    (peer,) = [peer for peer in PEERS if peer.name == name]
    return peer


def _served(name: str, cell: Cell, mode: str, enough: int = 1) -> Result:
    peer = _named(name)
    return long_enough(lambda seconds: take_sample(peer, cell, mode, seconds), 0.1, enough)


PAIRS = [
    pytest.param(cell, peer, id=f"{name}-{peer.name}")
    for name, cell in CASES.items()
    for peer in serving(cell.host, PEERS)
]


@pytest.mark.parametrize(("cell", "peer"), PAIRS)
def test_every_peer_serves_wherever_it_says_it_does(cell: Cell, peer: Peer) -> None:
    before = set(threading.enumerate())
    figures = long_enough(lambda seconds: take_sample(peer, cell, "count", seconds), MOMENT).figures
    assert set(threading.enumerate()) <= before
    assert figures["throughput"] > 0
    assert figures["cpu"] > 0
    assert ("failed" in figures) == (peer.failed is not None and cell.workload != "uncontended")
    if cell.workload != "uncontended":
        assert 1 / cell.contenders <= figures["jain"] <= 1 + 1e-9


@pytest.mark.parametrize("case", ["asyncio", "trio", "threads", "mixed", "loops"])
def test_a_timed_sample_has_waits_in_order_and_loop_delays_where_there_is_a_loop(case: str) -> None:
    result = take_sample(_named("ThreadBackoffLock"), CASES[case], "timed", 0.1)
    figures = result.figures
    assert 0 <= figures["p50"] <= figures["p99"] <= figures["longest"]
    assert result.quantiles == sorted(result.quantiles)
    assert len(result.quantiles) == len(SHARES)
    assert ("loop p99" in figures) == (case != "threads")
    assert ("threads p99" in figures) == ("tasks p99" in figures) == (case == "mixed")


@pytest.mark.parametrize("section", ["turn", "1ms", "random"])
def test_tasks_hold_and_think(section: str) -> None:
    cell = Cell("tasks", "asyncio", section, tasks=2, think=section == "random")
    throughput = _served("asyncio.Lock", cell, "timed").figures["throughput"]
    assert throughput > 0
    if section != "turn":
        assert throughput < 2000  # held for a millisecond, or 2.5 in the mean


@pytest.mark.parametrize(("section", "most"), [("cpu", 10**6), ("io", 5000), ("empty", 10**8)])
def test_threads_hold_and_think(section: str, most: int) -> None:
    for think in (False, True):
        cell = Cell("threads", "threads", section, threads=2, think=think)
        figures = _served("threading.Lock", cell, "timed").figures
        assert 0 < figures["throughput"] < most


def test_a_starved_contender_shows_in_fairness_and_in_the_longest_wait() -> None:
    """A task that spins gets the lock never again from one that takes it back without a pause."""
    cell = Cell("tasks", "asyncio", "turn", tasks=4)
    figures = _served("spin", cell, "timed").figures
    assert figures["jain"] == pytest.approx(1 / 4)
    assert figures["longest"] >= 0.1


@pytest.mark.parametrize("name", ["ThreadBackoffLock", "spin"])
@pytest.mark.parametrize("case", ["tasks", "threads"])
def test_tries_that_failed_are_counted(name: str, case: str) -> None:
    cell = Cell("tasks", "asyncio", "random", tasks=4, think=True)
    if case == "threads":
        cell = Cell("threads", "threads", "io", threads=4, think=True)
    assert _served(name, cell, "count", enough=20).figures["failed"] > 0


def test_first_come_first_served_is_fair() -> None:
    cell = Cell("tasks", "asyncio", "turn", tasks=4)
    assert _served("asyncio.Lock", cell, "count", enough=400).figures["jain"] > 0.99


def test_waits_that_are_not_over_count_from_their_beginning() -> None:
    tally = Tally(2, 0)
    tally.begin()
    tally.counts[0] = 9  # all too short to be kept
    tally.since[1] = time.perf_counter() - 5.0
    tally.finish()
    figures = tally.result(timed=True).figures
    assert figures["p50"] == 0.0
    assert figures["longest"] >= 5.0
    assert figures["jain"] == jain([9, 0])


@pytest.mark.parametrize("name", ["BackoffLock", "asyncio.Lock", "spin"])
def test_waiters_are_measured_held_and_drained(name: str) -> None:
    cell = Cell("waiters", "asyncio", "held", tasks=50)
    figures = take_sample(_named(name), cell, "timed", 0.1).figures
    assert figures["throughput"] * figures["drain"] == pytest.approx(50)
    assert (figures["cpu share"] > 0.3) == (name == "spin")


def test_heartbeats_are_no_cpu_while_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []

    def process_time() -> float:
        running.append(len(asyncio.all_tasks()))
        return time.process_time()

    monkeypatch.setattr(waiters, "process_time", process_time)
    cell = Cell("waiters", "asyncio", "held", tasks=50)
    figures = take_sample(_named("asyncio.Lock"), cell, "timed", 0.5).figures
    assert running == [51, 51]  # the waiters, and the task that holds the lock
    assert figures["cpu share"] < 0.003  # with heartbeats, three to six times that
    assert figures["loop p99"] > 0.0


def test_memory_per_waiter_leaves_the_task_out() -> None:
    cell = Cell("waiters", "asyncio", "held", tasks=200)
    figures = take_sample(_named("asyncio.Lock"), cell, "memory", 0.1).figures
    # A future of some 100 bytes, an entry of a deque and two suspended calls; then a task as well.
    assert 200 < figures["memory"] < 1200
    assert figures["memory with task"] > figures["memory"] + 300


class NeverFree:
    """A lock that forgets whoever waits."""

    async def __aenter__(self) -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.2)
                return

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.2)


def test_a_peer_that_does_not_end_is_reported_and_left_out_from_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "PATIENCE", 0.01)
    cell = CASES["asyncio"]
    stuck = Peer("stuck", "python", frozenset({"asyncio"}), NeverFree, can_be_cancelled=False)
    steps = [
        Step(number, cell, peer, "count", 0.5)
        for number in range(2)
        for peer in (stuck, _named("asyncio.Lock"))
    ]
    samples = list(measure(steps))
    assert [sample.peer for sample in samples] == ["stuck", "asyncio.Lock", "asyncio.Lock"]
    assert samples[0].failure is not None
    assert "did not end" in samples[0].failure
    assert not samples[0].figures
    assert samples[1].figures["throughput"] > 0


def _interrupting(make: Any) -> Any:
    """Return `make`, but a Ctrl-C comes some time after."""
    main = threading.main_thread().ident
    assert main is not None

    def later() -> Any:
        threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()
        return make()

    return later


@pytest.mark.parametrize("case", ["asyncio", "trio", "threads", "mixed", "loops"])
def test_ctrl_c_ends_a_sample_and_all_its_contenders(case: str) -> None:
    before = set(threading.enumerate())
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    own = _named("ThreadBackoffLock")
    peer = Peer(own.name, own.package, own.hosts, _interrupting(own.make))
    started = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            take_sample(peer, CASES[case], "count", 20.0)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert time.perf_counter() - started < 10.0
    for thread in set(threading.enumerate()) - before:
        thread.join(10.0)  # the timer itself, which has done its work
    assert set(threading.enumerate()) <= before
