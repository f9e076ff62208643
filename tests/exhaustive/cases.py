"""The worlds that are visited."""

from __future__ import annotations

from dataclasses import replace

from .contenders import Contender
from .world import Case, Faults

__all__ = ["CASES"]

TASK, OTHER, THREAD = Contender("a"), Contender("b"), Contender()
TASK2, OTHER2, THREAD2 = (replace(one, visits=2) for one in (TASK, OTHER, THREAD))
HASTY, HASTY_THREAD = (replace(one, timeout=5.0) for one in (TASK, THREAD))
PAST, PAST2 = Contender(direct=True), Contender(direct=True, visits=2)
COUNTING, STEPPING = replace(TASK, max_attempts=2), replace(TASK, steps=True)

CALM = Faults(cancels=1, delays=1)
LOST = Faults(lost=1, delays=1)
DEADLY = Faults(deaths=1, delays=1)
ONE_OF_EACH = Faults(cancels=1, lost=1, delays=1, deaths=1)
TWO_CANCELS = Faults(cancels=2, lost=1, delays=1)

SMALL = (
    Case("two tasks of a loop, twice", (TASK2, TASK2), CALM),
    Case("two tasks of two loops", (TASK, OTHER), ONE_OF_EACH),
    Case("a task and a thread", (TASK, THREAD), ONE_OF_EACH, threads=True),
    Case("two threads, twice", (THREAD2, THREAD2), CALM, threads=True),
    Case("two threads that may die", (THREAD, THREAD), ONE_OF_EACH, threads=True),
    Case("threads that may overtake", (THREAD, THREAD2, TASK), threads=True, thread_window=5.0),
    Case("two threads with a window", (THREAD2, THREAD2), LOST, threads=True, fair_after=3.0),
    Case("two threads that barge", (THREAD2, THREAD2), LOST, threads=True, fair_after=None),
    Case("two threads, not woken", (THREAD, THREAD), CALM, threads=True, wake_on_release=False),
    Case("three tasks of a loop", (TASK, TASK, TASK), CALM),
    Case("two tasks and a task elsewhere", (TASK, TASK, OTHER), Faults(lost=1)),
    Case("two tasks and a thread", (TASK, TASK, THREAD), Faults(cancels=1), threads=True),
    Case("three threads", (THREAD, THREAD, THREAD), Faults(lost=1), threads=True),
    Case("a task in a hurry", (TASK, HASTY), DEADLY),
    Case("a thread in a hurry", (THREAD, HASTY_THREAD), DEADLY, threads=True),
    Case("a task that counts its tries", (TASK, COUNTING), CALM),
    Case("a task that steps", (TASK, STEPPING), CALM),
    Case("a task and one past the lock", (TASK2, PAST2), CALM, over=True),
    Case("two tasks and one past the lock", (TASK, TASK, PAST), Faults(cancels=1), over=True),
)
"""What every test run visits."""

LARGE = (
    Case("two tasks of a loop, twice, all faults", (TASK2, TASK2), Faults(2, 0, 2, 1)),
    Case("two tasks of two loops, twice", (TASK2, OTHER2), CALM),
    Case("two tasks of two loops, window", (TASK, OTHER2), LOST, fair_after=3.0),
    Case("two tasks of two loops, barging", (TASK2, OTHER2), ONE_OF_EACH, fair_after=None),
    Case("two tasks, not woken", (TASK2, OTHER2), ONE_OF_EACH, wake_on_release=False),
    Case("a task and a thread, twice", (TASK2, THREAD2), TWO_CANCELS, threads=True),
    Case("a task and a thread, window", (TASK, THREAD2), LOST, threads=True, fair_after=3.0),
    Case("two threads, twice, all faults", (THREAD2, THREAD2), Faults(2, 1, 2, 1), threads=True),
    Case("two threads, window, all faults", (THREAD2, THREAD2), ONE_OF_EACH, True, 3.0),
    Case("two threads, barging, all faults", (THREAD2, THREAD2), ONE_OF_EACH, True, None),
    Case("three tasks of a loop, twice", (TASK2, TASK2, TASK2), CALM),
    Case("three tasks of a loop, all faults", (TASK, TASK, TASK), ONE_OF_EACH),
    Case("two tasks and one elsewhere", (TASK, TASK, OTHER), Faults(cancels=1, deaths=1)),
    Case("two tasks and a thread, all faults", (TASK, TASK, THREAD), ONE_OF_EACH, threads=True),
    Case("a task and two threads, all faults", (TASK, THREAD, THREAD), ONE_OF_EACH, threads=True),
    Case("three threads, all faults", (THREAD, THREAD, THREAD), ONE_OF_EACH, threads=True),
    Case("three threads, window, all faults", (THREAD,) * 3, ONE_OF_EACH, True, 3.0),
    Case("three threads, barging, all faults", (THREAD,) * 3, ONE_OF_EACH, True, None),
    Case("three threads, twice", (THREAD2, THREAD2, THREAD2), CALM, threads=True),
    Case("two tasks and one in a hurry", (TASK, TASK, HASTY), CALM),
    Case("two tasks and one that counts", (TASK, TASK, COUNTING), CALM),
    Case("two of a loop, one past the lock", (TASK, TASK, PAST2), CALM, over=True),
)
"""What ``--exhaustive`` visits beside them."""

CASES: tuple[Case, ...] = (*(replace(case, first=True) for case in SMALL), *LARGE)
