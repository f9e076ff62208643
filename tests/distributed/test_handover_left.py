"""Risk: a lease that was left to the next one goes to nobody, or to two."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from math import inf

import anyio
import anyio.lowlevel
import pytest

from backofflock import (
    AcquireTimeout,
    Constant,
    DistributedLock,
    ThreadDistributedLock,
)
from backofflock.distributed import _alarms
from backofflock.distributed._gate import Gate
from backofflock.leases import Lease, clock

from ..striking import strike
from . import memory
from .handing import Lock, assert_free, store_of, waiting
from .hosts import on_each_host, run, unhandled, until
from .memory import AsyncMemory, Memory, Store
from .test_interrupts import OURS

# -- cancels ---------------------------------------------------------------------------------------


class Chain:
    """A holder, and two that wait for it; each enters once, unless it is cancelled."""

    def __init__(self) -> None:
        self.store = store_of(10)
        self.lock = DistributedLock("orders", AsyncMemory(self.store), schedule=Constant(0.0))
        self.fences: list[int] = []
        self.inside = 0
        self.begun = anyio.Event()

    async def enter(self, scope: anyio.CancelScope | None = None) -> None:
        with scope or anyio.CancelScope():
            async with self.lock as lease:
                self.fences.append(lease.fence)
                self.inside += 1
                assert self.inside == 1
                assert self.store.holder("orders") == lease.token
                try:
                    await self.begun.wait()
                    await anyio.lowlevel.checkpoint()
                finally:
                    self.inside -= 1

    async def start(self, enter: Callable[[int], object]) -> None:
        """Let three enter; return when one holds the lock, and two wait."""
        for number in range(3):
            enter(number)
            await until(lambda: self.inside and waiting(self.lock, number)())  # noqa: B023
        self.begun.set()

    def check(self, cancelled: set[int]) -> None:
        assert all(before < after for before, after in pairwise(self.fences))
        assert len(self.fences) >= 3 - len(cancelled)
        assert_free(self.lock, self.store)


ROUNDS = range(16)


@on_each_host
@pytest.mark.parametrize("whom", [{0}, {1}, {2}, {0, 1}, {1, 2}, {0, 1, 2}], ids=str)
def test_scopes_that_are_cancelled_at_every_step(host: str, whom: set[int]) -> None:
    async def main() -> None:
        caught: set[int] = set()
        handed_over = 0
        for rounds, more in itertools.product(ROUNDS, range(3)):
            chain = Chain()
            scopes = [anyio.CancelScope() for _ in range(3)]
            async with anyio.create_task_group() as group:
                await chain.start(
                    lambda number: group.start_soon(chain.enter, scopes[number])  # noqa: B023
                )
                for _ in range(rounds):
                    await anyio.lowlevel.checkpoint()
                for number in sorted(whom):
                    scopes[number].cancel()
                    for _ in range(more):
                        await anyio.lowlevel.checkpoint()
            caught |= {number for number in whom if scopes[number].cancelled_caught}
            chain.check(whom)
            handed_over += chain.lock.statistics().handed_over
        assert caught == whom
        assert handed_over

    run(host, main)


@pytest.mark.parametrize("whom", [0, 1, 2])
def test_native_cancels_at_every_step_once_and_again(whom: int) -> None:
    async def main() -> None:
        with unhandled() as told:
            for rounds, again in itertools.product(ROUNDS, (None, *range(6))):
                chain = Chain()
                tasks: list[asyncio.Task[None]] = []
                await chain.start(
                    lambda _: tasks.append(asyncio.create_task(chain.enter()))  # noqa: B023
                )
                for _ in range(rounds):
                    await asyncio.sleep(0)
                cancels = int(tasks[whom].cancel())
                if again is not None:
                    for _ in range(again):
                        await asyncio.sleep(0)
                    cancels += tasks[whom].cancel()
                await asyncio.wait(tasks)
                assert tasks[whom].cancelled() or not cancels, "a cancel was swallowed"
                chain.check({whom})
            assert len(asyncio.all_tasks()) == 1
        assert told == []

    run("asyncio", main)


@pytest.mark.parametrize("others", [0, 1])
def test_cancelled_at_the_very_moment(others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heir is cancelled when the lease was left to it, and before it has run."""

    async def main() -> None:
        store = store_of(10)
        lock = DistributedLock("orders", AsyncMemory(store))
        fences: list[int] = []
        bequeath = Gate.bequeath

        def and_cancel(gate: Gate, ticket: str, lease: Lease) -> bool:
            was_left = bequeath(gate, ticket, lease)
            if was_left and tasks[0].cancel():
                assert gate.heirloom is lease
            return was_left

        monkeypatch.setattr(Gate, "bequeath", and_cancel)

        async def enter() -> None:
            async with lock as lease:
                fences.append(lease.fence)

        tasks: list[asyncio.Task[None]] = []
        async with lock:
            for number in range(1 + others):
                tasks.append(asyncio.create_task(enter()))
                await until(waiting(lock, number + 1))
        await asyncio.wait(tasks)
        assert [task.cancelled() for task in tasks] == [True, False][: 1 + others]
        assert fences == [2] * others
        assert store.requests == {"try_acquire": 1, "release": 1}
        assert_free(lock, store)

    run("asyncio", main)


@pytest.mark.parametrize("kind", [DistributedLock, ThreadDistributedLock])
def test_an_heir_that_is_gone_when_it_is_left_to_it(
    kind: type[Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(10)
    backend = Memory(store)
    leaves = threading.Event()

    def give_up_then(_details: object) -> None:
        if leaves.is_set():
            raise LookupError("mine")

    lock = ThreadDistributedLock("orders", backend, on_wait=give_up_then)
    leave = Gate.leave

    def give_up() -> None:
        with pytest.raises(LookupError):
            lock.acquire()

    thread = threading.Thread(target=give_up)

    def too_late(gate: Gate, ticket: str, heirloom: Lease | None = None) -> bool:
        if heirloom is not None:
            leaves.set()
            thread.join(20)  # it finds nothing when it goes
        return leave(gate, ticket, heirloom)

    monkeypatch.setattr(Gate, "leave", too_late)

    async def in_a_task() -> None:
        async with DistributedLock("orders", backend):
            thread.start()
            await until(waiting(lock, 1))

    if kind is DistributedLock:
        asyncio.run(in_a_task())
    else:
        with lock:
            thread.start()
            memory.until(waiting(lock, 1))
    assert store.requests == {"try_acquire": 1, "release": 1}
    assert_free(lock, store)


def test_the_end_of_asyncio_run_in_the_middle_of_it() -> None:
    for rounds in ROUNDS:
        chains: list[Chain] = []
        tasks: list[asyncio.Task[None]] = []

        async def main(
            chains: list[Chain] = chains,
            tasks: list[asyncio.Task[None]] = tasks,
            rounds: int = rounds,
        ) -> None:
            chain = Chain()
            chains.append(chain)
            await chain.start(lambda _: tasks.append(asyncio.create_task(chain.enter())))
            for _ in range(rounds):
                await asyncio.sleep(0)

        asyncio.run(main())
        assert_free(chains[0].lock, chains[0].store)


# -- all at once -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_threads_and_tasks_of_several_loops_that_give_up(seed: int) -> None:
    store = store_of(7)
    backend = Memory(store, blocking=False)
    in_tasks = DistributedLock("orders", backend, schedule=Constant(0.001))
    in_threads = ThreadDistributedLock("orders", backend, schedule=Constant(0.001))
    fences: list[int] = []
    inside: list[int] = []
    errors: list[BaseException] = []

    def enter(lease: Lease) -> None:
        inside.append(1)
        assert len(inside) == 1
        fences.append(lease.fence)
        assert store.holder("orders") == lease.token

    def in_thread(rng: random.Random) -> None:
        for _ in range(150):
            try:
                lease = in_threads.acquire(timeout=rng.uniform(0.0, 0.01))
            except AcquireTimeout:
                continue
            enter(lease)
            if rng.random() < 0.3:
                time.sleep(0.0005)
            inside.pop()
            in_threads.release()

    async def in_task(rng: random.Random) -> None:
        for _ in range(150):
            with anyio.move_on_after(rng.uniform(0.0, 0.01)):
                async with in_tasks as lease:
                    enter(lease)
                    try:
                        await asyncio.sleep(rng.choice((0.0, 0.0, 0.0005)))
                    finally:
                        inside.pop()

    async def loop(rng: random.Random) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(in_task, random.Random(rng.random()))

    def noted(act: Callable[[], object]) -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    rng = random.Random(seed)
    acts: list[Callable[[], object]] = []
    for _ in range(2):
        own = random.Random(rng.random())
        acts.append(lambda own=own: asyncio.run(loop(own)))  # type: ignore[misc]
    for _ in range(3):
        own = random.Random(rng.random())
        acts.append(lambda own=own: in_thread(own))  # type: ignore[misc]
    threads = [threading.Thread(target=noted, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors, errors
    assert all(before < after for before, after in pairwise(fences))
    handed_over = in_tasks.statistics().handed_over + in_threads.statistics().handed_over
    assert handed_over > 0
    assert_free(in_tasks, store)


# -- interrupts ------------------------------------------------------------------------------------


@contextmanager
def a_thread(act: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.usefixtures("started")
def test_a_release_that_is_interrupted_at_every_place() -> None:
    fences = set()
    for at in range(1, 1000):
        store = store_of(10)
        lock = ThreadDistributedLock("orders", Memory(store))
        seen: list[int] = []

        def heir(
            lock: ThreadDistributedLock = lock, seen: list[int] = seen, store: Store = store
        ) -> None:
            with lock as lease:
                seen.append(lease.fence)
                time.sleep(0.001)
                assert store.holder("orders") == lease.token

        lease = lock.acquire()
        with a_thread(heir):
            memory.until(waiting(lock, 1))
            struck = strike(lock.release, at, OURS)
            if lock.lease is lease:
                assert struck
                lock.release()
        fences.add(tuple(seen))
        assert_free(lock, store)
        if not struck:
            assert at > 20
            assert fences == {(2,), (11,)}
            return
    raise AssertionError("there was no end")


@pytest.mark.usefixtures("started")
def test_an_heir_that_is_interrupted_at_every_place() -> None:
    for at in range(1, 1000):
        store = store_of(10)
        lock = ThreadDistributedLock("orders", Memory(store))
        held, over, got = threading.Event(), threading.Event(), list[Lease]()

        def holder(
            lock: ThreadDistributedLock = lock,
            held: threading.Event = held,
            over: threading.Event = over,
        ) -> None:
            with lock:
                held.set()
                memory.until(lambda: lock.statistics().tasks_waiting or over.is_set())

        def inherit(lock: ThreadDistributedLock = lock, got: list[Lease] = got) -> None:
            got.append(lock.acquire())

        with a_thread(holder):
            assert held.wait(20)
            struck = strike(inherit, at, OURS)
            over.set()
            if got:
                lock.release()
        assert_free(lock, store)
        if not struck:
            assert at > 20
            assert got[0].fence == 2
            return
    raise AssertionError("there was no end")


@pytest.fixture
def started() -> None:
    """The alarms have their thread already: to start a thread is code of `threading`."""
    _alarms.thread_alarms().call_at(0.0, lambda: None)


@on_each_host
def test_what_is_of_no_use_is_given_back_within_the_time_of_its_heir(host: str) -> None:
    async def main() -> None:
        store = Store()
        store.block = 8
        backend = AsyncMemory(store)
        lock, another = (DistributedLock("orders", backend, ttl=ttl) for ttl in (30.0, 20.0))
        took: list[float] = []

        async def inherit() -> None:
            began = clock()
            with pytest.raises(AcquireTimeout):
                await another.acquire(timeout=0.2)
            took.append(clock() - began)

        async with anyio.create_task_group() as group, lock:
            group.start_soon(inherit)
            await until(lambda: lock._gate._queue)
            backend.trouble("release", before=inf)
            backend.trouble("try_acquire", before=inf)
        assert took[0] < 4.5, "a second each to give it back, to try and to clean up"

    run(host, main)
