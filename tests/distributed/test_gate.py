"""The gate: one of a process asks, in order of arrival; and other processes have their turn."""

from __future__ import annotations

import asyncio
import gc
import heapq
import itertools
import random
import threading
import weakref
from collections import Counter
from collections.abc import Generator
from itertools import groupby, pairwise

import anyio
import pytest

from backofflock import WaitDetails, leases
from backofflock.distributed import DistributedLock, ThreadDistributedLock, _gate, _policy
from backofflock.distributed._gate import Gate, gate_of
from backofflock.distributed._policy import Nap
from backofflock.distributed._turns import CEDED, CEDED_TO_OTHERS, REMEMBERED, TURN
from backofflock.schedules import FLEET_SCHEDULE

from . import memory
from .handing import Clock, a_lease
from .hosts import on_each_host, run, until
from .memory import AsyncMemory, Memory, Store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    virtual = Clock()
    for module in (leases, _gate, _policy, memory):
        monkeypatch.setattr(module, "clock", virtual)
    return virtual


# -- one gate for all that want the same -----------------------------------------------------------


def test_one_gate_for_a_backend_and_a_name() -> None:
    backend, other = Memory(), Memory()
    gate = gate_of(backend, "orders")
    assert gate_of(backend, "orders") is gate
    assert gate_of(backend, "bills") is not gate
    assert gate_of(other, "orders") is not gate
    lock = DistributedLock("orders", backend)
    assert lock._gate is ThreadDistributedLock("orders", backend)._gate is gate


def test_many_threads_that_ask_at_once_get_the_same_gate() -> None:
    for _ in range(50):
        backend = Memory()
        start = threading.Barrier(4)
        found: list[Gate] = []

        def find(
            start: threading.Barrier = start,
            found: list[Gate] = found,
            backend: Memory = backend,
        ) -> None:
            start.wait()
            found.append(gate_of(backend, "orders"))

        threads = [threading.Thread(target=find) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1


def test_gates_that_nobody_needs_are_forgotten() -> None:
    backend = Memory()
    gone = weakref.ref(backend)
    gc.collect()
    before = len(_gate._gates)
    locks = [DistributedLock(f"lock {number}", backend) for number in range(100)]
    assert len(_gate._gates) == before + 100
    del locks, backend
    gc.collect()
    assert len(_gate._gates) <= before
    assert gone() is None


def test_tasks_and_threads_exclude_each_other_and_one_asks_at_a_time() -> None:
    backend = Memory()
    names = DistributedLock("orders", backend), ThreadDistributedLock("orders", backend)
    inside: list[int] = []
    most_asking = 0

    def enter() -> None:
        nonlocal most_asking
        inside.append(1)
        assert len(inside) == 1
        most_asking = max(most_asking, backend.under_way.total())
        inside.pop()

    def in_thread() -> None:
        for _ in range(20):
            with names[1]:
                enter()

    async def in_tasks() -> None:
        async def in_task() -> None:
            for _ in range(5):
                async with names[0]:
                    enter()
                    await asyncio.sleep(0)

        await asyncio.gather(*(in_task() for _ in range(4)))

    threads = [threading.Thread(target=in_thread) for _ in range(2)]
    threads += [threading.Thread(target=asyncio.run, args=(in_tasks(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert backend.store.fences["orders"] == 80
    assert backend.store.requests == {"try_acquire": 80, "release": 80}  # nobody asked in vain
    assert most_asking == 0  # while one is inside none asks
    assert not backend.store.unreleased()


@on_each_host
def test_first_come_first_served_among_tasks(host: str) -> None:
    async def main() -> None:
        lock = DistributedLock("orders", AsyncMemory())
        served: list[int] = []

        async def enter(number: int) -> None:
            async with lock:
                served.append(number)
                await anyio.sleep(0.001)

        async with anyio.create_task_group() as group, lock:
            for number in range(20):
                group.start_soon(enter, number)
                await until(lambda: lock.statistics().tasks_waiting == number + 1)  # noqa: B023
        assert served == list(range(20))

    run(host, main)


def test_first_come_first_served_among_threads() -> None:
    lock = ThreadDistributedLock("orders", Memory())
    served: list[int] = []

    def enter(number: int) -> None:
        with lock:
            served.append(number)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(10)]
    with lock:
        for number, thread in enumerate(threads):
            thread.start()
            memory.until(lambda: lock.statistics().tasks_waiting == number + 1)  # noqa: B023
    for thread in threads:
        thread.join(20)
    assert served == list(range(10))


def test_a_task_that_takes_it_again_and_again_leaves_every_second_turn() -> None:
    async def main() -> None:
        lock = DistributedLock("orders", AsyncMemory())
        order: list[str] = []

        async def greedy(name: str) -> None:
            for _ in range(20):
                async with lock:
                    order.append(name)
                    await asyncio.sleep(0)

        await asyncio.gather(greedy("a"), greedy("b"))
        assert all(first != second for first, second in pairwise(order))

    asyncio.run(main())


def test_it_is_left_once_and_only_by_whoever_has_passed() -> None:
    gate = Gate("orders", object())
    gate.acquire_nowait()
    gate.ticket = "first"
    assert not gate.leave("second")
    assert gate.locked()
    assert gate.leave("first")
    gate.acquire_nowait()
    gate.ticket = "second"
    assert not gate.leave("first")
    assert gate.locked()
    assert gate.ticket == "second"


# -- leaving it to other processes -----------------------------------------------------------------


def pass_and_leave(gate: Gate, clock: Clock, hold: float) -> float:
    """Pass, cede, hold and leave; return the seconds that were ceded."""
    gate.acquire_nowait()
    gate.ticket = "a token"
    ceded = gate.passed("a task")
    clock.now += ceded
    gate.granted(a_lease(clock), ceded > 0.0)
    clock.now += hold
    assert gate.leave("a token")
    return ceded


def test_within_its_turn_a_process_cedes_nothing(clock: Clock) -> None:
    gate = Gate("orders", object())
    began = clock.now
    while clock.now < began + TURN:
        assert pass_and_leave(gate, clock, 0.01) == 0.0


def test_after_its_turn_it_cedes_once_and_has_another_turn(clock: Clock) -> None:
    gate = Gate("orders", object())
    ceded = [pass_and_leave(gate, clock, 0.01) for _ in range(2 * int(TURN / 0.01))]
    assert sorted(set(ceded)) == [0.0, CEDED]
    assert ceded.index(CEDED) == pytest.approx(TURN / 0.01, abs=2)
    assert ceded.count(CEDED) == 1


def test_it_cedes_for_longer_once_others_were_met(clock: Clock) -> None:
    gate = Gate("orders", object())
    gate.met_others()
    assert max(pass_and_leave(gate, clock, 0.01) for _ in range(150)) == CEDED_TO_OTHERS
    clock.now += REMEMBERED
    assert max(pass_and_leave(gate, clock, 0.01) for _ in range(150)) == CEDED


class Job:
    def note(self, _details: WaitDetails) -> None:
        """Hear of a wait."""


def test_a_gate_keeps_nothing_of_a_lock_that_is_gone() -> None:
    backend, job = Memory(), Job()
    kept = ThreadDistributedLock("orders", backend)
    with ThreadDistributedLock("orders", backend, on_wait=job.note):
        assert kept._gate.pursuit is not None
    alive = weakref.ref(job)
    del job
    gc.collect()
    assert alive() is None


def test_what_was_not_ceded_is_owed_by_the_next(clock: Clock) -> None:
    gate = Gate("orders", object())
    while not pass_and_leave(gate, clock, 0.01):
        pass
    while not gate._turns.ceded(clock.now):
        pass_and_leave(gate, clock, 0.01)
    free_since = clock.now
    for number in range(4):  # each gives up at once, or is cancelled as it cedes
        gate.acquire_nowait()
        gate.ticket = str(number)
        assert gate.passed("a task") == pytest.approx(CEDED - (clock.now - free_since))
        clock.now += CEDED / 8
        assert gate.leave(str(number))
    clock.now = free_since + 1.01 * CEDED
    assert pass_and_leave(gate, clock, 0.01) == 0.0


def test_what_lay_idle_for_long_enough_was_ceded(clock: Clock) -> None:
    gate = Gate("orders", object())
    for _ in range(300):
        assert pass_and_leave(gate, clock, 0.01) == 0.0
        clock.now += 1.01 * CEDED


class Process:
    """A process that takes the lock whenever it can, in virtual time: the gate and the policy."""

    def __init__(self, name: str, store: Store, clock: Clock, rng: random.Random) -> None:
        self.name, self.store, self.clock, self.rng = name, store, clock, rng
        self.waits: list[float] = []
        self.entered: list[float] = []

    def work(self, hold: float, trip: float = 0.0005) -> Generator[float, None, None]:
        """Yield what time passes."""
        lock = DistributedLock("orders", Memory(self.store), rng=self.rng)
        gate = lock._gate
        for number in itertools.count():
            gate.acquire_nowait()
            asked, token = self.clock.now, f"{self.name}, {number}"
            gate.ticket = token
            wanted = lock._pursuit(self.name, self.name, token, (None, None), asked)
            steps = wanted.steps()
            step = next(steps)
            answer: object = None
            try:
                while True:
                    if isinstance(step, Nap):
                        yield step.seconds
                        answer = None
                    else:
                        yield trip
                        answer = self.store.try_acquire("orders", token, 30.0)
                    step = steps.send(answer)
            except StopIteration as done:
                lock._count(wanted, done.value, False)
            self.waits.append(self.clock.now - asked)
            self.entered.append(self.clock.now)
            yield hold
            yield trip
            self.store.release("orders", token)
            gate.leave(token)


def compete(clock: Clock, processes: int, hold: float, seconds: float, seed: int) -> list[Process]:
    rng, store = random.Random(seed), Store()
    all_of_them = [Process(f"process {n}", store, clock, rng) for n in range(processes)]
    heap = [(clock.now, n, process.work(hold)) for n, process in enumerate(all_of_them)]
    heapq.heapify(heap)
    end = clock.now + seconds
    while heap[0][0] < end:
        clock.now, number, work = heapq.heappop(heap)
        heapq.heappush(heap, (clock.now + next(work), number, work))
    return all_of_them


@pytest.mark.parametrize("hold", [0.005, 0.05])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_greedy_processes_have_turns_alike(clock: Clock, hold: float, seed: int) -> None:
    first, second = compete(clock, 2, hold, 300.0, seed)
    shares = sorted(len(process.entered) for process in (first, second))
    assert shares[1] / shares[0] < 1.3, shares
    assert max(first.waits + second.waits) < 60.0
    assert sum(shares) * hold > 0.6 * 300.0  # and the lock is in use
    # Whoever waited has a turn, not one hold: the turn begins with the lease.
    entered = sorted([(when, 0) for when in first.entered] + [(when, 1) for when in second.entered])
    runs = Counter(len(list(run)) for _, run in groupby(entered, key=lambda entry: entry[1]))
    assert runs[1] / runs.total() < 0.1, runs


def test_the_patience_of_one_among_many_ends(clock: Clock) -> None:
    processes = compete(clock, 8, 0.005, 600.0, seed=4)
    shares = [len(process.entered) for process in processes]
    assert min(shares) > 0.5 * sum(shares) / len(shares), shares
    assert max(max(process.waits) for process in processes) < 60.0


def test_the_gate_in_figures() -> None:
    """The figures that its docstrings give."""
    assert CEDED / (TURN + CEDED) < 0.03
    naps = list(itertools.islice(FLEET_SCHEDULE.delays(random.Random(1)), 20, 1000))
    chance = CEDED / (sum(naps) / len(naps))  # that one who asks does so while it is free
    assert 8 < 1 / chance < 14
