"""A contest that is left before its end, or fails, leaves nothing running and nothing held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from random import Random

import pytest

from backofflock import Constant, ThreadBackoffLock, WaitDetails
from backofflock.cli.contenders import Contender, State
from backofflock.cli.contest import Contest
from backofflock.cli.manners import Blocking, Manner, Waiting
from backofflock.cli.settings import Settings
from backofflock.cli.systems import SYSTEMS, System, select

from .settled import LIMIT

OnWait = Callable[[WaitDetails], None]
QUICK = Settings(threads=2, tasks=2, rounds=3, hold=0.002, scale=0.01)
(MUTEX,) = select(["mutex"])
(LINEAR,) = select(["linear"])


def _wait_until_all_wait(contest: Contest) -> None:
    until = time.monotonic() + LIMIT
    while any(me.doing.state is not State.WAITS for me in contest.contenders):
        assert time.monotonic() < until
        assert not contest.watch(0.005)


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_contest_that_is_left_early_leaves_nothing_running(system: System) -> None:
    settings = Settings(threads=2, tasks=2, rounds=100, hold=60.0, scale=0.02)
    before = set(threading.enumerate())
    began = time.monotonic()
    with Contest(system, settings) as contest:
        assert not contest.watch(0.05)
    assert contest.asleep() == 0
    assert set(threading.enumerate()) == before
    assert time.monotonic() - began < LIMIT
    # Whoever held let go, and nobody began another round.
    for me in contest.contenders:
        assert sum(turn.released is not None for turn in me.turns) <= 1


def test_waiters_for_a_lock_that_is_never_released_leave_too() -> None:
    held = threading.Lock()
    held.acquire()

    def manner_of(_system: System, _scale: float, _rng: Random, on_wait: OnWait) -> Manner:
        return Waiting(ThreadBackoffLock(Constant(0.01), over=held, on_wait=on_wait))

    with Contest(LINEAR, QUICK, manner_of) as contest:
        _wait_until_all_wait(contest)
    assert contest.asleep() == 0
    assert [me.turns for me in contest.contenders] == [[]] * QUICK.contenders


def test_a_mutex_that_a_cancelled_task_was_waiting_for_is_given_back() -> None:
    lock = threading.Lock()
    settings = Settings(threads=1, tasks=3, rounds=100, hold=60.0)
    with Contest(MUTEX, settings, lambda *_: Blocking(lock)) as contest:
        assert not contest.watch(0.1)
    assert not lock.locked()


def test_calling_it_off_twice_does_not_cut_the_tidying_up_short() -> None:
    lock = threading.Lock()
    lock.acquire()
    settings = Settings(threads=0, tasks=2, rounds=1, hold=0.0)
    with Contest(MUTEX, settings, lambda *_: Blocking(lock)) as contest:
        _wait_until_all_wait(contest)
        for _ in range(2):
            contest.stop()
            _let_the_loop_turn(contest)
        lock.release()
        assert contest.watch(LIMIT)
    assert not lock.locked()


def _let_the_loop_turn(contest: Contest) -> None:
    """Return when everything has run that was due on the loop, and what that has made due."""
    assert contest._loop is not None
    for _ in range(3):
        turned = threading.Event()
        contest._loop.call_soon_threadsafe(turned.set)
        assert turned.wait(LIMIT)


def test_a_contest_called_off_before_it_begins_has_no_turns() -> None:
    contest = Contest(LINEAR, QUICK)
    contest.stop()
    with contest:
        assert contest.watch(LIMIT)
    assert contest.progress() == 0.0
    assert contest.asleep() == 0


def test_a_contest_that_is_left_at_once_leaves_nothing_running() -> None:
    before = set(threading.enumerate())
    with Contest(LINEAR, Settings(hold=60.0, scale=0.01)):
        pass
    assert set(threading.enumerate()) == before


class Faulty(Manner):
    def in_thread(self, me: Contender) -> None:
        raise ZeroDivisionError("in a thread")

    async def in_task(self, me: Contender) -> None:
        raise ZeroDivisionError("in a task")


@pytest.mark.parametrize(("threads", "tasks"), [(1, 0), (0, 1)])
def test_an_error_in_a_contender_ends_the_contest_and_is_raised(threads: int, tasks: int) -> None:
    settings = Settings(threads=threads, tasks=tasks)
    before = set(threading.enumerate())
    with (
        pytest.raises(ZeroDivisionError, match="in a t"),
        Contest(LINEAR, settings, lambda *_: Faulty()) as contest,
    ):
        assert contest.watch(LIMIT)
    assert set(threading.enumerate()) == before


class WithoutLoop(Contest):
    """A contest on a machine that has no files left for an event loop."""

    async def _all_tasks(self) -> None:
        raise OSError("too many open files")


def test_an_error_of_the_event_loop_ends_the_contest_and_is_raised() -> None:
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="too many"), WithoutLoop(LINEAR, QUICK) as contest:
        assert contest.watch(LIMIT)
    assert set(threading.enumerate()) == before


class FaultyBesideHolders(Manner):
    """One thread fails; the others hold for as long as they may."""

    def in_thread(self, me: Contender) -> None:
        if me.name == "thread-1":
            raise ZeroDivisionError("in a thread")
        me.ask()
        me.hold_in_thread()

    async def in_task(self, me: Contender) -> None:
        me.ask()
        await me.hold_in_task()


def test_an_error_in_one_contender_ends_the_turns_of_the_others() -> None:
    settings = Settings(threads=2, tasks=2, hold=600.0)
    with (
        pytest.raises(ZeroDivisionError),
        Contest(LINEAR, settings, lambda *_: FaultyBesideHolders()) as contest,
    ):
        assert contest.watch(LIMIT), "the others go on"


def test_a_contest_that_cannot_start_a_thread_leaves_none() -> None:
    before = set(threading.enumerate())
    contest = Contest(LINEAR, QUICK)
    contest._loop_thread.run = lambda: None  # type: ignore[method-assign]
    contest._loop_thread.start()  # so that it cannot be started when its turn comes
    with pytest.raises(RuntimeError, match="started"), contest:
        pass
    until = time.monotonic() + LIMIT
    while contest.asleep() and time.monotonic() < until:
        time.sleep(0.005)
    assert set(threading.enumerate()) == before


def test_an_error_of_the_watcher_comes_first() -> None:
    def watch_and_fail() -> None:
        with Contest(LINEAR, QUICK, lambda *_: Faulty()) as contest:
            assert contest.watch(LIMIT)
            raise KeyError("the watcher's own")

    with pytest.raises(KeyError):
        watch_and_fail()
