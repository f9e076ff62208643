"""Risk: a process that hands a lock over among its own never leaves it to others."""

from __future__ import annotations

import heapq
import itertools
import os
import random
from collections.abc import Generator
from itertools import pairwise
from math import inf
from typing import Any

import pytest

from backofflock import (
    DistributedLock,
)
from backofflock._hosts import ThreadWaiter
from backofflock.distributed._gate import Gate
from backofflock.distributed._policy import Nap
from backofflock.distributed._turns import CEDED, TURN
from backofflock.leases import Lease

from ..contract.test_fork import run as run_script
from .handing import Clock, a_lease, store_of, virtual_clock
from .memory import Memory, Store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return virtual_clock(monkeypatch)


def leave_to_the_next(gate: Gate, ticket: str, clock: Clock) -> bool:
    """Pass, leave the lock to a thread that waits, and say whether that was right."""
    del gate._key[0]
    gate.ticket = ticket
    gate.passed(ticket)
    gate.heirloom = None
    gate.granted(a_lease(clock), False)
    clock.now += 0.01
    if gate.bequeath(ticket, a_lease(clock)):
        return True
    assert gate.leave(ticket)
    return False


@pytest.mark.parametrize("gap", [0.0, 1.1 * CEDED])
def test_a_turn_ends_however_often_it_changes_hands(clock: Clock, gap: float) -> None:
    gate = Gate("orders", object())
    gate._queue.append(a_waiter())
    began = clock.now
    for number in range(1000):
        if not leave_to_the_next(gate, str(number), clock):
            break
        clock.now += gap  # the heir is slow to come, and the lock is not free meanwhile
    assert TURN <= clock.now - began < TURN + gap + 0.02
    del gate._key[0]
    assert gate.passed("the next") == CEDED


def a_waiter() -> ThreadWaiter:
    waiter = ThreadWaiter(0.0)
    waiter.woken_at = waiter.pledge.promise = inf
    return waiter


class Process:
    """A process whose threads take the lock whenever they can, in virtual time."""

    def __init__(self, number: int, store: Store, clock: Clock, rng: random.Random) -> None:
        self.number, self.store, self.clock = number, store, clock
        self.lock = DistributedLock("orders", Memory(store), rng=rng)
        self.lock._gate._queue.append(a_waiter())
        self.waits: list[float] = []
        self.fences: list[int] = []

    def work(self, hold: float, trip: float = 0.0005) -> Generator[float, None, None]:
        """Yield what time passes."""
        lock, gate = self.lock, self.lock._gate
        for number in itertools.count():
            del gate._key[0]
            asked, ticket = self.clock.now, f"{self.number}, {number}"
            gate.ticket = ticket
            wanted = lock._pursuit(ticket, ticket, ticket, (None, None), asked)
            lease = lock._inherit(wanted)
            if lease is None:
                assert gate.heirloom is None
                lease = yield from self.ask(wanted, ticket, trip)
            lock._count(wanted, lease, False)
            self.waits.append(self.clock.now - asked)
            self.fences.append(lease.fence)
            yield hold
            assert self.store.holder("orders") == lease.token
            if not (lock._may_change_hands(lease) and gate.bequeath(ticket, lease)):
                yield trip
                assert self.store.release("orders", lease.token)
                assert gate.leave(ticket)

    def ask(self, wanted: Any, token: str, trip: float) -> Generator[float, None, Lease]:
        steps = wanted.steps()
        step, answer = next(steps), None
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
            lease: Lease = done.value
            return lease


@pytest.mark.parametrize(("number", "hold"), [(2, 0.002), (2, 0.05), (6, 0.01)])
def test_processes_that_hand_it_over_have_shares_alike(
    clock: Clock, number: int, hold: float
) -> None:
    rng, store = random.Random(number), store_of(32)
    processes = [Process(n, store, clock, rng) for n in range(number)]
    heap = [(clock.now, n, process.work(hold)) for n, process in enumerate(processes)]
    heapq.heapify(heap)
    end, order = clock.now + 300.0, list[int]()
    while heap[0][0] < end:
        clock.now, which, work = heapq.heappop(heap)
        before = len(processes[which].fences)
        heapq.heappush(heap, (clock.now + next(work), which, work))
        order += processes[which].fences[before:]
    assert all(before < after for before, after in pairwise(order))
    shares = [len(process.fences) for process in processes]
    assert min(shares) > 0.6 * max(shares), shares
    assert max(max(process.waits) for process in processes) < 60.0
    assert sum(shares) * hold > 0.6 * 300.0, "the lock is in use"
    handed_over = sum(process.lock.statistics().handed_over for process in processes)
    assert handed_over > 0.9 * sum(shares)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_a_lease_lies_at_the_gate() -> None:
    run_script(
        """
from backofflock import ThreadDistributedLock
from tests.distributed.memory import Memory

backend = Memory()
backend.store.block = 10
lock = ThreadDistributedLock("orders", backend)
lease = lock.acquire()
assert lock._gate.leave(lock._holding.ticket, lease)

def child():
    assert lock._gate.heirloom is None
    assert backend.store.holder("orders") == lease.token  # it is the parent's
    backend.store.delete("orders")
    with lock as mine:
        assert (mine.fence, mine.token == lease.token) == (11, False)
    assert backend.store.released[lease.token] == 0

in_child(child)
with lock as after:
    assert (after.fence, after.token) == (2, lease.token)
"""
    )
