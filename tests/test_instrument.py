"""Listeners: what they are told, and that the locks stand them."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from backofflock import (
    AcquireTimeout,
    BackoffLock,
    Constant,
    LockEvent,
    OwnerDied,
    ThreadBackoffLock,
    instrument,
)
from backofflock import _instrument as machinery
from backofflock._contention import Contention
from backofflock._face import Face
from backofflock._waiter import NEVER
from backofflock.simulation import Scenario, simulate

from .contract.checks import ASLEEP
from .contract.test_fork import run as run_script
from .distributed.hosts import on_each_host, run, until
from .test_interrupts import acquire_under_fire

pytestmark = pytest.mark.usefixtures("nobody_else_is_told_of")

PATIENCE = 30.0


@pytest.fixture
def events() -> Iterator[list[LockEvent]]:
    """Listen, and collect what is told."""
    told: list[LockEvent] = []
    with instrument(told.append):
        yield told


@pytest.fixture(autouse=True)
def nobody_listens_afterwards() -> Iterator[None]:
    yield
    assert machinery._audience.members == ()


def brief(events: list[LockEvent]) -> list[tuple[object, ...]]:
    """Return what does not depend on the time."""
    return [(each.kind, each.lock, each.face, each.outcome, each.attempts) for each in events]


def wait_for(condition: Callable[[], object]) -> None:
    latest = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < latest, "in vain"
        time.sleep(0.001)


# -- what is told ----------------------------------------------------------------------------------


@on_each_host
@pytest.mark.parametrize("face", [BackoffLock, ThreadBackoffLock])
def test_a_free_lock_is_a_hold_and_no_wait(
    host: str, face: type[BackoffLock | ThreadBackoffLock], events: list[LockEvent]
) -> None:
    async def main() -> None:
        lock = face(name="orders")
        async with lock:
            assert events == []
        lock.acquire_nowait()
        lock.release()
        async for attempt in lock.attempts():
            async with attempt:
                pass

    run(host, main)
    hold = ("hold", "orders", face.__name__, "released", None)
    assert brief(events) == [hold, hold, hold]
    assert all(event.waiter is None and event.seconds >= 0.0 for event in events)


def test_threads_that_find_it_free_or_taken(events: list[LockEvent]) -> None:
    lock = ThreadBackoffLock(ASLEEP, name="orders")
    with lock:
        assert not lock.acquire(blocking=False)  # did not wait
        assert not lock.acquire(timeout=0.001)
    hold = ("hold", "orders", "ThreadBackoffLock", "released", None)
    assert brief(events) == [("wait", "orders", "ThreadBackoffLock", "timeout", 2), hold]
    assert events[0].waiter == threading.current_thread().name
    assert events[1].seconds >= events[0].seconds >= 0.001


@on_each_host
def test_a_wait_says_who_waited_and_for_how_long(host: str, events: list[LockEvent]) -> None:
    lock = BackoffLock(ASLEEP, name="orders")

    async def main() -> None:
        import anyio

        async def wait() -> None:
            async with lock:
                pass

        async with anyio.create_task_group() as group, lock:
            group.start_soon(wait, name="the waiter")
            await until(lambda: lock.statistics().tasks_waiting == 1)
            await anyio.sleep(0.02)

    run(host, main)
    first, wait, second = events
    assert brief([first, second]) == [("hold", "orders", "BackoffLock", "released", None)] * 2
    assert brief([wait]) == [("wait", "orders", "BackoffLock", "acquired", 2)]
    assert wait.waiter == "the waiter"
    assert min(first.seconds, wait.seconds) >= 0.02  # a wait ends some time after the hold
    assert wait.seconds == lock.statistics().total_wait


@on_each_host
def test_how_a_wait_ends(host: str, events: list[LockEvent]) -> None:
    lock = BackoffLock(Constant(0.001))
    other = BackoffLock(Constant(0.001), on_wait=lambda details: 1 / 0)

    async def main() -> None:
        import anyio

        async def waiting(acquire: Callable[[], Any]) -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(acquire)
                await until(lambda: lock.statistics().tasks_waiting)
                group.cancel_scope.cancel()

        async def fails(error: type[Exception], acquire: Callable[[], Any]) -> None:
            with pytest.raises(error):
                await acquire()

        async with anyio.create_task_group() as group:
            await lock.acquire()
            await other.acquire()
            await waiting(lock.acquire)
            group.start_soon(fails, AcquireTimeout, lambda: lock.acquire(max_attempts=3))
            group.start_soon(fails, ZeroDivisionError, other.acquire)
        await fails(RuntimeError, lock.acquire)
        lock.release()
        other.release()

    run(host, main)
    waits = sorted((each.outcome, each.attempts) for each in events if each.kind == "wait")
    cancelled, *rest = waits
    assert cancelled[0] == "cancelled"
    assert rest == [("error", 1), ("error", 1), ("timeout", 3)]
    assert [each.failed for each in sorted(events, key=lambda each: each.outcome)] == [
        *[False, True, True],
        *[False, False, True],
    ]


def test_an_owner_that_died_is_an_error(events: list[LockEvent]) -> None:
    lock = BackoffLock()

    async def main() -> None:
        await asyncio.create_task(lock.acquire())
        with pytest.raises(OwnerDied):
            await lock.acquire()

    asyncio.run(main())
    assert brief(events) == [("wait", "BackoffLock", "BackoffLock", "error", 1)]


def test_attempts_tell_as_acquire_does(events: list[LockEvent]) -> None:
    lock = ThreadBackoffLock(Constant(0.0), name="orders")
    with lock:
        for attempt in lock.attempts():
            if attempt.number == 3:
                break
        del attempt
    for attempt in lock.attempts():  # a free one, not entered: held until the loop is left
        assert attempt
    lock.acquire()
    for attempt in lock.attempts():
        if attempt.number == 2:
            lock.release()
        if attempt:
            with attempt:
                pass
    face = "ThreadBackoffLock"
    hold = ("hold", "orders", face, "released", None)
    assert brief(events) == [
        ("wait", "orders", face, "cancelled", 3),
        *[hold] * 3,
        ("wait", "orders", face, "acquired", 3),
        hold,
    ]


def test_locks_without_a_name_count_as_one(events: list[LockEvent]) -> None:
    class Special(ThreadBackoffLock):
        __slots__ = ()

    for lock in Special(), Special(), ThreadBackoffLock(name=""):
        with lock:
            pass
    assert [(each.lock, each.face) for each in events] == [
        ("Special", "Special"),
        ("Special", "Special"),
        ("ThreadBackoffLock", "ThreadBackoffLock"),
    ]


def test_a_foreign_lock_is_told_of_too(events: list[LockEvent]) -> None:
    foreign = threading.Lock()
    lock = ThreadBackoffLock(Constant(0.001), over=foreign, name="foreign")
    with lock:
        assert foreign.locked()
        assert not lock.acquire(timeout=0.0001)
    assert not foreign.locked()
    with pytest.raises(RuntimeError):
        lock.release()
    assert [(each.kind, each.outcome) for each in events] == [
        ("wait", "timeout"),
        ("hold", "released"),
    ]


def test_a_condition_tells_of_each_hold(events: list[LockEvent]) -> None:
    condition = threading.Condition(ThreadBackoffLock())  # type: ignore[arg-type]
    with condition:
        assert not condition.wait(0.001)
    assert [each.kind for each in events] == ["hold", "hold"]


def test_simulated_locks_are_not_told_of(events: list[LockEvent]) -> None:
    simulate(Constant(0.1), Scenario(contenders=3, rounds=2))
    assert events == []


# -- who is told, and when -------------------------------------------------------------------------


def test_each_is_told_from_its_registration_to_its_end() -> None:
    lock = ThreadBackoffLock()
    told: list[str] = []

    def visit() -> list[str]:
        told.clear()
        with lock:
            pass
        return sorted(told)

    first = instrument(lambda event: told.append("first"))
    assert visit() == ["first"]
    with instrument(lambda event: told.append("second")) as second:
        assert visit() == ["first", "second"]
        first.close()
        first.close()
        assert visit() == ["second"]
    assert visit() == []
    second.close()


def test_one_that_is_registered_twice_is_told_twice() -> None:
    told: list[LockEvent] = []
    listener = told.append
    with instrument(listener) as one, instrument(listener):
        with ThreadBackoffLock():
            pass
        assert len(told) == 2
        one.close()
        with ThreadBackoffLock():
            pass
        assert len(told) == 3
    assert repr(one) == f"<Instrumentation of {listener!r}>"


@pytest.mark.parametrize("listener", [None, "orders", lambda: None])
def test_what_cannot_be_called_is_refused(listener: Any) -> None:
    async def coroutine(event: LockEvent) -> None: ...

    unfit = coroutine if callable(listener) else listener
    with pytest.raises(TypeError, match="must be a plain callable of one argument, not"):
        instrument(unfit)


def test_nothing_is_left_once_nobody_listens() -> None:
    def at_work() -> tuple[object, ...]:
        return vars(Face)["_key"], vars(Contention)["key"], Contention.tell

    before = at_work()
    assert all(inspect.ismemberdescriptor(slot) for slot in before[:2])
    assert before[2] is None
    with instrument(lambda event: None), instrument(lambda event: None):
        assert all(now is not then for now, then in zip(at_work(), before, strict=True))
    assert all(now is then for now, then in zip(at_work(), before, strict=True))


def test_a_registration_that_is_interrupted_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(machinery, "monotonic", interrupt)
        with pytest.raises(KeyboardInterrupt):
            instrument(lambda event: None)
    test_nothing_is_left_once_nobody_listens()


def test_a_hold_from_before_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count(1.0)
    monkeypatch.setattr(machinery, "monotonic", lambda: next(ticks))
    lock = ThreadBackoffLock()
    told: list[LockEvent] = []
    lock.acquire()
    with instrument(told.append):  # from 1
        lock.release()
        lock.acquire()  # at 2
    lock.release()
    lock.acquire()
    with instrument(told.append):  # from 3: the hold noted at 2 is another one
        lock.release()
        assert told == []
        with lock:  # from 4 to 5
            pass
    assert [each.seconds for each in told] == [1.0]


def test_a_lock_made_while_somebody_listens_is_one_like_others() -> None:
    with instrument(lambda event: None):
        lock = ThreadBackoffLock()
    with lock:
        assert not lock.acquire(blocking=False)
    assert isinstance(lock._key, deque)
    assert lock._key is lock._contention.key


def test_waiters_rest_while_somebody_listens(events: list[LockEvent]) -> None:
    lock = BackoffLock(Constant(0.001))

    async def main() -> None:
        async def wait() -> None:
            async with lock:
                pass

        async with asyncio.TaskGroup() as group, lock:
            for _ in range(5):
                group.create_task(wait())
            await until(lambda: lock.statistics().tasks_waiting == 5)
            waiters = list(lock._queue)
            assert [each.resting for each in waiters] == [False, *[True] * 4]

    asyncio.run(main())
    assert Counter(each.outcome for each in events) == {"released": 6, "acquired": 5}


def test_the_next_is_woken_before_listeners_take_their_time() -> None:
    lock = ThreadBackoffLock(ASLEEP)
    entered = threading.Event()

    def visit() -> None:
        with lock:
            entered.set()

    def listen(event: LockEvent) -> None:
        if event.kind == "hold" and threading.current_thread() is threading.main_thread():
            assert entered.wait(PATIENCE / 2), "the next waits for a listener"

    thread = threading.Thread(target=visit)
    failures: list[LockEvent] = []

    def careful(event: LockEvent) -> None:
        try:
            listen(event)
        except AssertionError:
            failures.append(event)

    with instrument(careful):
        with lock:
            thread.start()
            wait_for(lambda: lock.statistics().tasks_waiting)
        thread.join(PATIENCE)
    assert not failures


# -- listeners that misbehave ----------------------------------------------------------------------


def test_a_listener_that_raises_is_logged_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lock = ThreadBackoffLock(name="orders")
    told: list[str] = []

    def fail(event: LockEvent) -> None:
        raise ZeroDivisionError

    with instrument(fail), instrument(lambda event: told.append(event.outcome)):
        with lock:
            assert not lock.acquire(timeout=0.0001)
        assert not lock.locked()
    assert told == ["timeout", "released"]
    records = [each for each in caplog.records if each.name == "backofflock"]
    assert [each.levelno for each in records] == [logging.ERROR] * 2
    assert all(each.exc_info and each.exc_info[0] is ZeroDivisionError for each in records)
    assert "LockEvent(kind='hold', lock='orders'" in records[1].getMessage()


@pytest.mark.parametrize("kind", ["wait", "hold"])
def test_an_interrupt_in_a_listener_passes_and_leaves_nothing_held(kind: str) -> None:
    lock = ThreadBackoffLock(Constant(0.001), fair_after=0.0)
    armed = True

    def interrupt(event: LockEvent) -> None:
        nonlocal armed
        if armed and event.kind == kind and threading.current_thread() is threading.main_thread():
            armed = False
            raise KeyboardInterrupt

    def hold() -> None:
        with lock:
            wait_for(lambda: lock.statistics().tasks_waiting)

    with instrument(interrupt):
        holder = threading.Thread(target=hold)
        holder.start()
        wait_for(lock.locked)
        with pytest.raises(KeyboardInterrupt), lock:
            pass
        holder.join(PATIENCE)
        assert not armed
        assert not lock.locked()
        assert lock.statistics().tasks_waiting == 0
        with lock:
            pass


def test_an_interrupt_at_a_timeout_leaves_nobody_queued() -> None:
    lock = ThreadBackoffLock()

    def interrupt(event: LockEvent) -> None:
        if event.outcome == "timeout":
            raise KeyboardInterrupt

    with instrument(interrupt), lock:
        with pytest.raises(KeyboardInterrupt):
            lock.acquire(timeout=0.0001)
        assert lock.statistics().tasks_waiting == 0


def test_events_of_locks_that_a_listener_uses_are_not_told() -> None:
    inner = ThreadBackoffLock(name="inner")
    told: list[str] = []

    def listen(event: LockEvent) -> None:
        with inner:
            told.append(event.lock)

    with instrument(listen):
        for _ in range(2):
            with ThreadBackoffLock(name="outer"):
                pass
        with inner:
            pass
    assert told == ["outer", "outer", "inner"]


# -- what must hold --------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no setitimer")
def test_an_interrupted_acquire_leaves_the_lock_free() -> None:
    lock = ThreadBackoffLock(max_attempts=1)
    told = 0

    def count_them(event: LockEvent) -> None:
        nonlocal told
        told += 1

    with instrument(count_them):
        interrupted, acquired = acquire_under_fire(lock, 2_000, 40e-6)
    assert not lock.locked()
    assert lock.statistics().tasks_waiting == 0
    assert min(interrupted, acquired) >= 100
    assert told >= acquired


def test_every_acquisition_of_many_threads_is_one_hold_and_every_contended_one_a_wait() -> None:
    lock = ThreadBackoffLock(Constant(0.0005), name="orders")
    told: deque[LockEvent] = deque()
    entered: deque[None] = deque()
    inside: list[int] = []

    def visit(who: int) -> None:
        for _ in range(100):
            with lock:
                inside.append(who)
                assert inside == [who]
                entered.append(None)
                time.sleep(0)
                inside.remove(who)

    with instrument(told.append):
        threads = [threading.Thread(target=visit, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    counted = Counter((each.kind, each.outcome) for each in told)
    statistics = lock.statistics()
    assert len(entered) == counted["hold", "released"] == 400
    assert counted["wait", "acquired"] == statistics.contended > 0
    assert set(counted) == {("hold", "released"), ("wait", "acquired")}
    waited = [each.seconds for each in told if each.kind == "wait"]
    assert sum(waited) == pytest.approx(statistics.total_wait)
    assert max(waited) == statistics.longest_wait


def test_listeners_come_and_go_while_locks_are_used() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    locks = [ThreadBackoffLock(Constant(0.0005)), ThreadBackoffLock(over=threading.Lock())]
    inside: list[list[int]] = [[], []]
    errors: list[BaseException] = []
    going = True

    def visit(who: int) -> None:
        rng = random.Random(who)
        try:
            while going:
                which = rng.randrange(2)
                with locks[which]:
                    inside[which].append(who)
                    time.sleep(0)
                    assert inside[which] == [who]
                    inside[which].remove(who)
        except BaseException as error:
            errors.append(error)

    def listener(since: float, told: list[bool]) -> Callable[[LockEvent], object]:
        # Who is told of a hold has listened from its beginning.
        return lambda event: told.append(
            event.kind == "wait" or event.seconds <= time.monotonic() - since
        )

    threads = [threading.Thread(target=visit, args=(who,)) for who in range(3)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(150):
            told: list[bool] = []
            with instrument(listener(time.monotonic(), told)):
                wait_for(told.__len__)
            assert all(told)
            assert not errors
    finally:
        going = False
        for thread in threads:
            thread.join(PATIENCE)
        sys.setswitchinterval(before)
    assert not errors
    assert not any(lock.locked() for lock in locks)
    assert [lock.statistics().tasks_waiting for lock in locks] == [0, 0]


def test_a_forked_child_has_the_lock_free_and_is_told_of_its_own_holds() -> None:
    run_script(
        """
        from backofflock import instrument

        told = []
        locks = [ThreadBackoffLock(), ThreadBackoffLock(over=threading.Lock())]
        with instrument(told.append):
            for lock in locks:
                lock.acquire()

            def check():
                for lock in locks:
                    lock._at_fork_reinit()
                assert told == []
                for lock in locks:
                    with lock:
                        pass
                    works(lock)
                holds = [each for each in told if each.kind == "hold"]
                assert len(holds) >= 4
                with instrument(told.append):
                    pass

            in_child(check)
            assert told == []
            for lock in locks:
                lock.release()
            assert [each.kind for each in told] == ["hold", "hold"]
        """
    )


@pytest.mark.usefixtures("events")
def test_a_foreign_lock_is_made_anew_by_its_own_means() -> None:
    foreign = threading.Lock()
    lock = ThreadBackoffLock(over=foreign)
    lock._at_fork_reinit()  # it is free: to release it would be an error
    with lock:
        assert foreign.locked()
    assert not foreign.locked()


def test_no_time_is_known_before_somebody_listens() -> None:
    lock = ThreadBackoffLock()
    with lock:
        assert lock._contention.held_since == -NEVER
