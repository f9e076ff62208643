"""One system under test: every row run for real, what is measured, and how it is called off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf
from random import Random

import pytest

from backofflock import Constant, Spin, ThreadBackoffLock, WaitDetails
from backofflock.cli.contenders import Contender
from backofflock.cli.contest import Contest, MannerOf, Result
from backofflock.cli.manners import Blocking, Manner, Stepping, Waiting, build
from backofflock.cli.settings import Settings
from backofflock.cli.systems import SYSTEMS, System, select

from .settled import LIMIT

OnWait = Callable[[WaitDetails], None]
QUICK = Settings(threads=2, tasks=2, rounds=3, hold=0.002, scale=0.01)
TURNS = QUICK.contenders * QUICK.rounds

each_system = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
(MUTEX,) = select(["mutex"])
(LINEAR,) = select(["linear"])


def run(system: System, settings: Settings = QUICK, manner_of: MannerOf = build) -> Result:
    before = set(threading.enumerate())
    with Contest(system, settings, manner_of) as contest:
        assert contest.watch(LIMIT), "the contest does not end"
    assert contest.progress() == 1.0
    assert contest.asleep() == 0
    assert set(threading.enumerate()) == before, "threads are left"
    return contest.result()


@each_system
def test_every_system_runs_and_its_figures_agree(system: System) -> None:
    result = run(system)
    failed_tries = result.attempts - result.acquisitions - result.gave_up

    assert result.intrusions == 0
    assert result.acquisitions + result.gave_up == TURNS
    if system.name not in {"spin-bounded", "bounded"}:
        assert result.acquisitions == TURNS
    assert failed_tries >= 0
    assert result.status_lines == (failed_tries if system.status_lines else 0)
    assert result.other_work == (failed_tries if system.limits else 0)
    assert 0.0 < result.longest_wait <= result.total_wait
    assert 0.0 <= result.free_while_waited <= result.elapsed
    # Each holds alone and for its time, give or take what clocks and timers round.
    assert result.elapsed >= 0.9 * result.acquisitions * QUICK.hold
    assert result.cpu >= 0.0
    assert 0.0 <= result.loop_delay <= result.elapsed


@pytest.mark.parametrize(("threads", "tasks"), [(3, 0), (0, 3), (1, 0), (0, 1)])
@pytest.mark.parametrize("name", ["mutex", "linear", "bounded", "backofflock"])
def test_threads_alone_and_tasks_alone_contend_too(name: str, threads: int, tasks: int) -> None:
    settings = Settings(threads=threads, tasks=tasks, rounds=2, hold=0.001, scale=0.01)
    (system,) = select([name])
    result = run(system, settings)
    assert result.acquisitions + result.gave_up == 2 * (threads + tasks)


# -- giving up -------------------------------------------------------------------------------------


def _over_a_held_lock(in_manner: Callable[[ThreadBackoffLock], Manner]) -> MannerOf:
    held = threading.Lock()
    held.acquire()

    def manner_of(_system: System, _scale: float, rng: Random, on_wait: OnWait) -> Manner:
        lock = ThreadBackoffLock(Spin().take(4), over=held, rng=rng, on_wait=on_wait)
        return in_manner(lock)

    return manner_of


def test_those_who_give_up_are_counted_with_their_tries() -> None:
    result = run(LINEAR, manner_of=_over_a_held_lock(Waiting))
    assert (result.acquisitions, result.gave_up) == (0, TURNS)
    assert result.attempts == 5 * TURNS
    # Nobody ever held it, so all the time that somebody waited it was free.
    assert result.longest_wait <= result.free_while_waited <= result.total_wait


def test_bounded_waiters_give_up_by_tries_and_by_time_and_work_meanwhile() -> None:
    result = run(
        LINEAR, manner_of=_over_a_held_lock(lambda lock: Stepping(lock, tries=2, seconds=60.0))
    )
    # Threads try twice; tasks, far from their time limit, five times: the schedule ends.
    assert result.gave_up == TURNS
    assert result.attempts == (2 + 5) * TURNS // 2
    assert result.other_work == (1 + 4) * TURNS // 2


def test_a_bounded_task_gives_up_when_its_time_is_over() -> None:
    held = threading.Lock()
    held.acquire()
    lock = ThreadBackoffLock(Constant(30.0), over=held)
    settings = Settings(threads=0, tasks=2, rounds=1, hold=0.0)
    result = run(LINEAR, settings, lambda *_: Stepping(lock, tries=99, seconds=0.05))
    assert result.gave_up == 2
    assert 0.05 <= result.longest_wait < 10.0


# -- what is measured ------------------------------------------------------------------------------


class NoLock(Manner):
    """Lets everybody in."""

    def in_thread(self, me: Contender) -> None:
        me.ask()
        me.hold_in_thread()

    async def in_task(self, me: Contender) -> None:
        me.ask()
        await me.hold_in_task()


def test_a_lock_that_lets_two_in_is_found_out() -> None:
    settings = Settings(threads=0, tasks=2, rounds=1, hold=0.01)
    assert run(LINEAR, settings, lambda *_: NoLock()).intrusions == 1


class Busy(NoLock):
    """Keeps the processor busy in its thread, or its event loop waiting in its task."""

    def in_thread(self, me: Contender) -> None:
        super().in_thread(me)
        _burn(0.2)

    async def in_task(self, me: Contender) -> None:
        await super().in_task(me)
        if len(me.turns) == 1:
            time.sleep(0.2)  # noqa: ASYNC251 - the fault that the heartbeat is to notice


def _burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_processor_time_is_that_of_the_contenders() -> None:
    settings = Settings(threads=1, tasks=0, rounds=1, hold=0.0)
    assert run(LINEAR, settings, lambda *_: Busy()).cpu >= 0.2


def test_processor_time_is_not_that_of_the_display() -> None:
    settings = Settings(threads=1, tasks=0, rounds=1, hold=0.01)
    with Contest(LINEAR, settings) as contest:
        _burn(1.0)
        assert contest.watch(LIMIT)
    assert contest.result().cpu < 0.5


def test_a_blocked_event_loop_is_noticed() -> None:
    # Once, in the first of two rounds: it is the worst delay that counts, not the last.
    settings = Settings(threads=0, tasks=1, rounds=2, hold=0.02)
    assert run(LINEAR, settings, lambda *_: Busy()).loop_delay >= 0.15


class Meeting(Manner):
    """The first thread holds until the second has tried in vain and sleeps for half a second."""

    def __init__(self, on_wait: OnWait) -> None:
        self._lock = ThreadBackoffLock(
            Constant(0.5), fair_after=None, wake_on_release=False, on_wait=self._failed
        )
        self._on_wait = on_wait
        self._taken = threading.Event()
        self._tried = threading.Event()

    def _failed(self, details: WaitDetails) -> None:
        self._on_wait(details)
        self._tried.set()

    def in_thread(self, me: Contender) -> None:
        first = me.name == "thread-1"
        assert first or self._taken.wait(LIMIT)
        me.ask()
        with self._lock:
            self._taken.set()
            assert self._tried.wait(LIMIT)
            me.hold_in_thread()

    async def in_task(self, me: Contender) -> None:
        raise AssertionError("there are no tasks")


def test_the_time_is_measured_in_which_the_lock_is_free_but_wanted() -> None:
    settings = Settings(threads=2, tasks=0, rounds=1, hold=0.0)
    with Contest(LINEAR, settings, lambda *given: Meeting(given[-1])) as contest:
        assert contest.watch(LIMIT)
    (first,), (second,) = (me.turns for me in contest.contenders)
    assert first.released is not None
    assert first.released > second.asked
    free = (first.decided - first.asked) + (second.decided - first.released)
    assert contest.result().free_while_waited == pytest.approx(free)
    assert first.attempts == 1
    assert second.attempts > 1


@pytest.mark.parametrize("settings", [QUICK, Settings(seed=2)], ids=["seed 1", "seed 2"])
def test_the_seed_decides_the_draws(settings: Settings) -> None:
    drawn: list[float] = []

    def manner_of(system: System, scale: float, rng: Random, on_wait: OnWait) -> Manner:
        drawn.append(rng.random())
        return build(system, scale, rng, on_wait)

    for system in (LINEAR, MUTEX, LINEAR):
        Contest(system, settings, manner_of)
    Contest(LINEAR, Settings(seed=3), manner_of)
    assert drawn[0] == drawn[2]
    assert len(set(drawn)) == 3


# -- the locks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SYSTEMS[1:], ids=lambda system: system.name)
def test_textbook_rows_sleep_naps_out_and_reserve_nothing(system: System) -> None:
    manner = build(system, 0.01, Random(1), lambda _details: None)
    assert isinstance(manner, Stepping if system.limits else Waiting)
    lock = manner._lock
    windows = lock._window, lock._thread_window
    if system.textbook:
        assert not lock._contention.wake_on_release
        assert windows == (inf, inf)
    else:
        default = ThreadBackoffLock()
        assert lock._contention.wake_on_release is default._contention.wake_on_release is True
        assert windows == (default._window, default._thread_window)
        assert max(windows) < 1.0


def test_the_limits_of_the_bounded_row_are_those_it_names_and_scale() -> None:
    (system,) = select(["bounded"])
    assert system.limits is not None
    tries, seconds = system.limits.tries, system.limits.seconds
    manner = build(system, 0.01, Random(1), lambda _details: None)
    assert isinstance(manner, Stepping)
    assert manner._tries == tries
    assert manner._seconds == pytest.approx(0.01 * seconds)
    assert f"threads give up after {tries} tries, tasks after {seconds:g} s;" in system.note


def test_the_first_row_is_a_plain_mutex() -> None:
    assert isinstance(build(MUTEX, 1.0, Random(1), lambda _details: None), Blocking)
