"""Without the GIL: what is shared is listed, and the machine stands thread switches anywhere.

Threads switch as often as the interpreter lets them, and beyond that before one in ten of the
opcodes that touch what they share: so a look and an act that must be one step come apart, as they
do on a free-threaded build. Which opcodes these are is known to `preemption`, which goes through
all orders of two threads; here are more threads, whole event loops, and chance.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import pkgutil
import random
import re
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import pytest
import trio

import backofflock
from backofflock import BackoffLock, Constant, Spin, ThreadBackoffLock
from backofflock._attempts import Attempt, Attempts, ThreadAttempts
from backofflock._contention import Contention
from backofflock._face import Face
from backofflock._hosts import Alarm, Alarms, AsyncioWaiter, ThreadWaiter, has_ended
from backofflock._hosts._asyncio import LoopTimeWaiter
from backofflock._hosts._doorbell import Doorbell
from backofflock._hosts._trio import TrioWaiter
from backofflock._key import ForeignKey, new_key
from backofflock._waiter import Pledge, Waiter
from backofflock.distributed._gate import Gate
from backofflock.distributed._turns import Turns

from .contract.checks import ASLEEP
from .preemption.points import Points
from .preemption.tracing import Tracer

PAGE = Path(__file__).parent.parent / "docs" / "free-threading.md"

SHARED: tuple[type, ...] = (
    Contention,
    Face,
    BackoffLock,
    ThreadBackoffLock,
    ForeignKey,
    Waiter,
    ThreadWaiter,
    AsyncioWaiter,
    LoopTimeWaiter,
    TrioWaiter,
    Pledge,
    Alarm,
    Alarms,
    Doorbell,
    Attempts,
    ThreadAttempts,
    Attempt,
    Gate,
    Turns,
)
"""The classes whose objects more than one thread can reach."""

# Seconds that nothing here comes near to unless it hangs.
PATIENCE = 30.0


# -- the page lists what is shared -----------------------------------------------------------------


def listed() -> dict[str, set[str]]:
    """Return the fields that the page lists, by class."""
    fields: dict[str, set[str]] = {}
    current: set[str] | None = None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = re.fullmatch(r"### `(\w+)`", line)
            current = fields.setdefault(heading[1], set()) if heading else None
        elif current is not None and line.startswith("| `"):
            cells = line.strip("|").split("|")
            assert len(cells) == 4, line
            assert all(cell.strip() for cell in cells), line
            current.update(re.findall(r"`(\w+)`", cells[0]))
    return fields


def own_slots(kind: type) -> set[str]:
    """Return the fields that a class itself adds."""
    slots = kind.__dict__["__slots__"]
    return {slots} if isinstance(slots, str) else set(slots)


def test_the_page_lists_each_field_of_each_shared_class() -> None:
    wanted = {kind.__name__: own_slots(kind) for kind in SHARED if own_slots(kind)}
    assert listed() == wanted


def test_no_shared_class_has_fields_that_are_not_slots() -> None:
    for kind in SHARED:
        with_slots = [
            base for base in kind.__mro__[:-1] if base.__module__ not in {"abc", "builtins"}
        ]
        assert all("__slots__" in vars(base) for base in with_slots), kind


def modules() -> Iterator[ModuleType]:
    """Yield the package and all modules of the locks, which the others only use."""
    others = ("backofflock.cli", "backofflock.__main__", "backofflock.simulation")
    yield backofflock
    for found in pkgutil.walk_packages(backofflock.__path__, "backofflock."):
        if not found.name.startswith(others):
            yield importlib.import_module(found.name)


def classes() -> set[type]:
    return {
        thing
        for module in modules()
        for thing in vars(module).values()
        if isinstance(thing, type) and thing.__module__.startswith("backofflock.")
    }


def test_no_shared_class_is_forgotten() -> None:
    bases = (
        Contention,
        Face,
        Waiter,
        Pledge,
        Alarms,
        Attempts,
        Attempt,
        ForeignKey,
        Turns,
        Doorbell,
    )
    assert {kind for kind in classes() if issubclass(kind, bases)} == set(SHARED)


def test_no_module_keeps_state_that_changes() -> None:
    changing = (list, dict, set, deque, bytearray, WeakKeyDictionary, WeakSet)
    found = {
        f"{module.__name__}.{name}"
        for module in modules()
        for name, thing in vars(module).items()
        if isinstance(thing, changing) and not name.startswith("__")
    }
    assert found == {
        # In which each event loop looks for its own, and sets it once.
        "backofflock._hosts._doorbell._DOORBELLS",
        "backofflock.backends._etcd_clients._loops",
        # What only the hooks of a fork touch, under a mutex, or add to as a backend is made.
        "backofflock.backends._file_state._taken",
        "backofflock.backends._file_state._orphans",
        "backofflock.backends._postgres_calls._all_calls",
        # To which each thread adds what it opens, and a child looks for what is not its own.
        "backofflock.backends._libpq_connecting.connecting",
        "backofflock.backends._libpq.connecting",  # the same one
        "backofflock.backends._libpq._sessions",
    }


def test_nobody_compares_waiters_by_code_of_python() -> None:
    # With it, deque.remove would no longer be one step.
    for kind in classes():
        if issubclass(kind, Waiter):
            assert kind.__eq__ is object.__eq__
            assert kind.__hash__ is object.__hash__


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this is no free-threaded build"
)
def test_the_package_does_not_bring_the_gil_back() -> None:
    program = "import sys, asyncio, backofflock; sys.exit(sys._is_gil_enabled())"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# -- threads that switch at every turn -------------------------------------------------------------


@pytest.fixture(autouse=True)
def switching() -> Iterator[None]:
    """Let threads switch every microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def give_way(place: str, writes: bool) -> None:
    """Let another thread go on, before one opcode in ten."""
    if random.random() < 0.1:
        time.sleep(1e-6)


@functools.cache
def points(every_opcode: bool) -> Points:
    return Points([Path(__file__)], every_opcode=every_opcode)


def together(*lives: Callable[[], object], every_opcode: bool = False) -> None:
    """Run each in a thread of its own, all from the same moment, and raise what one of them did."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(lives))
    tracer = Tracer(points(every_opcode), give_way)

    def perform(life: Callable[[], object]) -> None:
        try:
            start.wait(PATIENCE)
            tracer.begin()
            try:
                life()
            finally:
                tracer.end()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=perform, args=(life,), daemon=True) for life in lives]
    tracer.install()
    try:
        for thread in threads:
            thread.start()
        latest = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(0.0, latest - time.monotonic()))
    finally:
        tracer.remove()
    if errors:
        raise errors[0]
    assert not [thread for thread in threads if thread.is_alive()], "they hang"


def on_loop(main: Callable[[], Coroutine[Any, Any, object]]) -> Callable[[], object]:
    # In its debug mode a loop refuses what another thread must not ask of it.
    return lambda: asyncio.run(main(), debug=True)


def test_no_key_is_taken_twice() -> None:
    key, taken = new_key(), [0] * 4
    inside: list[int] = []

    def contend(who: int) -> Callable[[], None]:
        def life() -> None:
            while taken[who] < 800:
                try:
                    del key[0]
                except IndexError:
                    time.sleep(0)
                    continue
                inside.append(who)
                assert inside == [who]
                taken[who] += 1
                inside.remove(who)
                key.append(None)

        return life

    together(*map(contend, range(4)))
    assert (taken, len(key)) == ([800] * 4, 1)


def test_no_ticket_is_given_twice() -> None:
    machine = Contention(new_key(), "a lock", Spin())
    drawn: list[list[int]] = [[] for _ in range(4)]

    def draw(tickets: list[int]) -> Callable[[], None]:
        return lambda: tickets.extend(machine.next_ticket() for _ in range(2_000))

    together(*map(draw, drawn), every_opcode=True)
    assert all(tickets == sorted(tickets) for tickets in drawn)
    assert sorted(ticket for tickets in drawn for ticket in tickets) == list(range(8_000))


class Tallying(Contention):
    """A machine beside which somebody else counts, exactly."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.waits: deque[float] = deque()
        self.left: deque[None] = deque()

    def contend(self, *args: Any) -> Any:
        waiter = args[0]
        before = self.total_wait
        try:
            yield from super().contend(*args)
        except BaseException:
            self.left.append(None)
            raise
        assert waiter not in self.queue
        self.waits.append(self.total_wait - before if self.total_wait >= before else -1.0)


def tallying(lock: ThreadBackoffLock) -> Tallying:
    """Put a tallying machine into a lock."""
    real = lock._contention
    machine = Tallying(real.key, real.label, real.schedule, check=real.check)
    lock._contention, lock._queue = machine, machine.queue
    lock._alarms = Alarms(machine.queue)
    return machine


def test_what_the_holder_counts_is_exact_and_the_rest_never_too_much() -> None:
    lock = ThreadBackoffLock(Constant(0.0005), fair_after=0.0)
    machine = tallying(lock)
    counter, entered, timeouts = 0, [0] * 4, [0] * 4

    def contend(who: int) -> Callable[[], None]:
        def life() -> None:
            nonlocal counter
            for turn in range(160):
                if not lock.acquire(timeout=0.0002 if turn % 3 == 0 else -1):
                    timeouts[who] += 1
                    continue
                try:
                    seen = counter
                    time.sleep(0)
                    counter = seen + 1
                    entered[who] += 1
                finally:
                    lock.release()

        return life

    together(*map(contend, range(4)), every_opcode=True)
    statistics = lock.statistics()
    assert counter == sum(entered)
    assert counter + sum(timeouts) == 4 * 160
    assert statistics.contended == len(machine.waits) > 50
    assert statistics.timeouts + statistics.cancellations <= len(machine.left) == sum(timeouts)
    assert 0.0 < statistics.longest_wait <= statistics.total_wait
    assert (statistics.locked, statistics.tasks_waiting) == (False, 0)


def test_the_queue_stands_those_who_join_leave_look_and_wake_at_once() -> None:
    lock = ThreadBackoffLock(Constant(0.001))
    machine = lock._contention
    assert lock.acquire(blocking=False)  # nobody gets in: everybody joins, and leaves without it
    going = True
    looks = 0

    def join_and_leave() -> None:
        nonlocal going
        try:
            for turn in range(600):
                waiter = ThreadWaiter(0.0)
                policy = machine.contend(waiter, (None, None), None)
                assert next(policy) >= 0.0
                assert waiter in machine.queue
                if turn % 2:
                    policy.close()
                else:
                    machine.abandon(policy, waiter)
                assert waiter not in machine.queue
        finally:
            going = False

    def look_and_wake() -> None:
        nonlocal looks
        stays = ThreadWaiter(0.0)
        policy = machine.contend(stays, (None, None), None)
        next(policy)
        while going:
            now = time.monotonic()
            machine._keeper(now)
            machine._first_unwoken()
            machine._end_rest()
            assert 0 <= machine.ahead_of(stays) <= 3
            machine.wake_next(now)
            assert not machine.try_take(None, now, 0.0)
            assert 1 <= lock.statistics().tasks_waiting <= 4
            looks += 1
        policy.close()

    together(join_and_leave, join_and_leave, join_and_leave, look_and_wake)
    assert looks > 10
    assert len(machine.queue) == 0
    lock.release()
    assert lock.acquire(blocking=False)


def test_no_wake_up_of_a_thread_is_lost() -> None:
    waiter = ThreadWaiter(0.0)
    rounds, told = 2000, 0
    answered = [0]

    def wake() -> None:
        nonlocal told
        for turn in range(1, rounds + 1):
            while answered[0] < turn - 1:
                time.sleep(0)
            told = turn
            waiter.wake()

    def disturb() -> None:  # a second waker, at any moment
        while answered[0] < rounds:
            waiter.wake()
            time.sleep(0)

    def nap() -> None:
        for turn in range(1, rounds + 1):
            began = time.monotonic()
            while told < turn:
                waiter.nap(PATIENCE)  # ended by a wake-up alone
                assert time.monotonic() - began < PATIENCE / 2, "a wake-up was lost"
            answered[0] = turn

    together(wake, disturb, nap)
    together(wake_and_nap_alone)


def wake_and_nap_alone() -> None:
    """A wake-up that comes before the nap ends it at once."""
    waiter = ThreadWaiter(0.0)
    for _ in range(3):
        waiter.wake()
    began = time.monotonic()
    waiter.nap(PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2


def test_no_wake_up_between_loops_is_lost() -> None:
    # Naps are 30 s: a wake-up that is lost hangs the hand-over.
    lock = BackoffLock(ASLEEP)
    entered: list[str] = []

    def visitor(name: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def visit() -> None:
            for _ in range(200):
                async with lock:
                    entered.append(name)
                    await asyncio.sleep(0)

        async def main() -> None:
            await asyncio.gather(visit(), visit())

        return main

    async def on_trio() -> None:
        for _ in range(200):
            async with lock:
                entered.append("trio")
                await trio.lowlevel.checkpoint()

    together(on_loop(visitor("A")), on_loop(visitor("B")), lambda: trio.run(on_trio))
    assert sorted(set(entered)) == ["A", "B", "trio"]
    assert len(entered) == 5 * 200
    assert lock.statistics().tasks_waiting == 0


def test_the_owner_is_the_holders_alone_to_write() -> None:
    lock = BackoffLock(Spin())

    async def main() -> None:
        me = asyncio.current_task()
        for _ in range(500):
            async with lock:
                for _ in range(20):
                    assert lock._owner is me
            await asyncio.sleep(0)

    together(lambda: asyncio.run(main()), lambda: asyncio.run(main()))


def test_loops_that_come_and_go_share_the_alarms_of_a_lock() -> None:
    lock = ThreadBackoffLock(Constant(0.001))
    entered = deque[None]()

    async def enter() -> None:
        async with lock:
            entered.append(None)
            await asyncio.sleep(0.0005)

    async def main() -> None:
        await asyncio.gather(enter(), enter(), enter())

    def come_and_go() -> None:
        for _ in range(25):
            asyncio.run(main())

    together(come_and_go, come_and_go, come_and_go)
    assert len(entered) == 3 * 25 * 3

    async def until_they_run_out() -> None:
        async with lock:
            waiter = asyncio.create_task(enter())
            while not lock.statistics().tasks_waiting:
                await asyncio.sleep(0)
            # To make an alarm is to forget the loops that are closed.
            assert list(lock._alarms) == [asyncio.get_running_loop()]
        await waiter
        async with asyncio.timeout(PATIENCE):
            while lock._alarms:
                await asyncio.sleep(0.001)

    asyncio.run(until_they_run_out())


@pytest.mark.parametrize("host", ["asyncio", "trio"])
def test_an_owner_that_releases_and_ends_at_once_is_never_called_dead(host: str) -> None:
    # Waiters of another loop look at the owner at every turn, just when it releases and ends.
    lock = BackoffLock(Spin())
    going = True
    looked = 0

    async def own() -> None:
        async with lock:
            pass

    async def owners_of_asyncio() -> None:
        for _ in range(1000):
            await asyncio.create_task(own())

    async def owners_of_trio() -> None:
        for _ in range(1000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(own)

    def be_owners() -> None:
        nonlocal going
        try:
            if host == "asyncio":
                asyncio.run(owners_of_asyncio())
            else:
                trio.run(owners_of_trio)
        finally:
            going = False

    async def look() -> None:
        nonlocal looked
        while going:
            async with lock:  # raises OwnerDied if it takes an owner for dead
                looked += 1

    together(be_owners, on_loop(look))
    assert looked > 10
    assert lock.statistics().owner is None
    assert not lock.locked()


def test_a_task_that_runs_elsewhere_has_not_ended() -> None:
    tasks: list[Any] = []
    over = False

    async def own() -> None:
        tasks.append(trio.lowlevel.current_task())
        while not over:
            await trio.lowlevel.checkpoint()

    def look() -> None:
        nonlocal over
        try:
            while not tasks:
                time.sleep(0)
            assert not any(has_ended(tasks[0]) for _ in range(1000))
        finally:
            over = True

    together(lambda: trio.run(own), look, every_opcode=True)
    assert has_ended(tasks[0])
