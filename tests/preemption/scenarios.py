"""The scenarios: what two threads do with one lock, in a few lines each.

Time stands still in most of them: naps are longer than any play, and a thread that sleeps one out
was not woken when it should have been. In those that say ``time_passes``, a thread that is
preempted may be away until the other's nap is over: time limits run out, wake-ups and promises go
stale, at any point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from backofflock import AcquireTimeout, BackoffLock, Constant, ThreadBackoffLock
from backofflock._face import DEFAULT
from tests.contract.subjects import TASKS, THREADS, Make, Variant

from .plays import Play, threads_only
from .scheduler import Body

__all__ = ["NAP", "SCENARIOS", "Scenario"]

WAYS = {"strict": 0.0, "default": DEFAULT, "barging": None}
"""Values of ``fair_after`` for threads: first come first served, the default, no reservations."""

NAP = Constant(0.032)
"""Naps of the length of the default's, without its jitter."""

OVER_A_FACE = Variant(
    "BackoffLock-over-ThreadBackoffLock", BackoffLock, over=partial(ThreadBackoffLock, NAP)
)


@dataclass(frozen=True)
class Scenario:
    """Two threads and what they contend for."""

    name: str
    cast: Callable[[Play], tuple[Body, Body]]
    time_passes: bool = False
    make: Make = THREADS


# -- threads ---------------------------------------------------------------------------------------


def visits(play: Play, first: int, second: int, **options: Any) -> tuple[Body, Body]:
    """Both enter by ``with``, so many times."""
    subject = play.lock(**options)
    return play.visits(subject, "A", first), play.visits(subject, "B", second)


def try_against_release(play: Play) -> tuple[Body, Body]:
    """One tries without waiting, twice, while the other enters and leaves."""
    subject = play.lock()
    lock = threads_only(subject)

    def tries() -> None:
        for _ in range(2):
            if lock.acquire(False):
                play.be_inside("A")
                lock.release()
            else:
                play.say("taken")

    return tries, play.visits(subject, "B")


def timeout_against_release(
    play: Play, timeout: float, times: int = 0, **options: Any
) -> tuple[Body, Body]:
    """A time limit runs out while the holder releases, and perhaps enters again."""
    subject = play.lock(**{"schedule": NAP, **options})
    lock = threads_only(subject)
    lock.acquire()

    def waits() -> None:
        if lock.acquire(timeout=timeout):
            play.be_inside("A")
            lock.release()
        else:
            play.say("timed out")

    again = play.visits(subject, "B", times)

    def releases() -> None:
        play.be_inside("B")
        lock.release()
        again()

    return waits, releases


def both_time_out(play: Play) -> tuple[Body, Body]:
    """Both enter with a time limit, one with a shorter one than the other."""
    subject = play.lock(schedule=NAP)
    lock = threads_only(subject)

    def body(name: str, timeout: float) -> None:
        if lock.acquire(timeout=timeout):
            play.be_inside(name)
            lock.release()
        else:
            play.say(f"{name} timed out")

    return partial(body, "A", 0.02), partial(body, "B", 0.05)


def release_by_another(play: Play) -> tuple[Body, Body]:
    """The lock is released by a thread that did not take it, and then enters like the other."""
    subject = play.lock()
    lock = threads_only(subject)
    lock.acquire()
    enter = play.visits(subject, "B")

    def releases() -> None:
        lock.release()
        enter()

    return play.visits(subject, "A"), releases


def steps_against_release(play: Play) -> tuple[Body, Body]:
    """One tries step by step, the other enters and leaves."""
    subject = play.lock()
    lock = threads_only(subject)

    def steps() -> None:
        for attempt in lock.attempts():
            if attempt:
                with attempt:
                    play.be_inside("A")

    return steps, play.visits(subject, "B")


def leaves_early(play: Play) -> tuple[Body, Body]:
    """One leaves its attempts after the first, while the other releases and enters."""
    subject = play.lock(fair_after=0.0)
    lock = threads_only(subject)
    lock.acquire()
    enter = play.visits(subject, "B")

    def leaves() -> None:
        for attempt in lock.attempts():
            if not attempt:
                break

    def releases() -> None:
        lock.release()
        enter()

    return leaves, releases


# -- a thread and an event loop --------------------------------------------------------------------


def task_wakes_up(play: Play) -> tuple[Body, Body]:
    """A task waits for a lock that is held; the thread releases it."""
    subject = play.lock()
    lock = threads_only(subject)
    lock.acquire()
    return play.loop(lambda: play.visit(subject, "task")), lock.release


def task_against_thread(play: Play, times: int, **options: Any) -> tuple[Body, Body]:
    """A task and a thread enter the same lock."""
    subject = play.lock(**options)
    return play.loop(lambda: play.visit(subject, "task")), play.visits(subject, "thread", times)


def task_times_out(play: Play) -> tuple[Body, Body]:
    """A task's time limit runs out while the thread releases."""
    subject = play.lock(schedule=NAP)
    lock = threads_only(subject)
    lock.acquire()

    async def main() -> None:
        try:
            await lock.acquire_async(timeout=0.02)
        except AcquireTimeout:
            play.say("timed out")
        else:
            play.be_inside("task")
            lock.release()

    return play.loop(main), lock.release


def two_tasks(play: Play, turns: int = 0, **options: Any) -> tuple[Body, Body]:
    """Two tasks of one loop wait, the second at rest; the thread releases and enters."""
    subject = play.lock(**options)
    lock = threads_only(subject)
    lock.acquire()
    enter = play.visits(subject, "thread")

    async def main() -> None:
        await asyncio.gather(play.visit(subject, "first"), play.visit(subject, "second", turns))

    def releases() -> None:
        lock.release()
        enter()

    return play.loop(main), releases


def task_cancelled(play: Play) -> tuple[Body, Body]:
    """A waiting task is cancelled while the thread releases, and then enters again."""
    subject = play.lock()
    lock = threads_only(subject)
    lock.acquire()
    enter = play.visits(subject, "thread")

    async def main() -> None:
        task = asyncio.create_task(play.visit(subject, "task"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        play.say("cancelled" if task.cancelled() else "got in")

    def releases() -> None:
        lock.release()
        enter()

    return play.loop(main), releases


def two_loops(play: Play) -> tuple[Body, Body]:
    """A task each of two event loops, which know their owner."""
    subject = play.lock()
    return (
        play.loop(lambda: play.visit(subject, "A")),
        play.loop(lambda: play.visit(subject, "B")),
    )


SCENARIOS = {
    scenario.name: scenario
    for scenario in [
        *(
            Scenario(f"{name}-{way}", partial(visits, first=a, second=b, fair_after=window))
            for name, a, b in [("one-each", 1, 1), ("three", 2, 1), ("twice-each", 2, 2)]
            for way, window in WAYS.items()
        ),
        *(
            Scenario(
                f"late-{way}",
                partial(visits, first=2, second=1, fair_after=window, schedule=NAP),
                time_passes=True,
            )
            for way, window in WAYS.items()
        ),
        Scenario("try", try_against_release),
        Scenario("timeout", partial(timeout_against_release, timeout=0.02), time_passes=True),
        Scenario("timeout-naps", partial(timeout_against_release, timeout=0.05), time_passes=True),
        *(
            Scenario(
                f"timeout-{way}",
                partial(timeout_against_release, timeout=0.02, times=1, fair_after=window),
                time_passes=True,
            )
            for way, window in WAYS.items()
        ),
        Scenario("both-time-out", both_time_out, time_passes=True),
        Scenario("release-by-another", release_by_another),
        Scenario("attempts", steps_against_release),
        Scenario("attempts-left", leaves_early),
        Scenario("task-wakes-up", task_wakes_up),
        Scenario("task-and-thread", partial(task_against_thread, times=1)),
        Scenario("task-and-thread-twice", partial(task_against_thread, times=2)),
        Scenario(
            "task-late", partial(task_against_thread, times=1, schedule=NAP), time_passes=True
        ),
        Scenario("task-times-out", task_times_out, time_passes=True),
        Scenario("two-tasks", two_tasks),
        Scenario("two-tasks-barging", partial(two_tasks, turns=3, fair_after=None)),
        Scenario("task-cancelled", task_cancelled),
        Scenario("two-loops", two_loops, make=TASKS),
        Scenario(
            "over-a-foreign-lock",
            partial(task_against_thread, times=1, schedule=NAP),
            time_passes=True,
            make=OVER_A_FACE,
        ),
    ]
}
"""All scenarios, by name."""
