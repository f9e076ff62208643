"""What a contender does: take the lock, hold it, give it back, think, and all over again.

Each comes in two kinds. One does nothing but count. The other takes the time around each
acquisition too, which costs two readings of the clock and a comparison.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import cache, partial
from time import perf_counter

from .tally import FLOOR, Tally

__all__ = [
    "Pause",
    "Section",
    "Sleep",
    "count_in_task",
    "count_in_thread",
    "heartbeat",
    "task_pauses",
    "thread_sections",
    "time_in_task",
    "time_in_thread",
]

Sleep = Callable[[float], Awaitable[object]]
"""asyncio's or trio's."""

Pause = Callable[[], Awaitable[object]]
Section = Callable[[], object]

CPU_SECTION = 20e-6
IO_SECTION = 200e-6
THINK_IN_THREAD = 400e-6
HOLD_IN_TASK = THINK_IN_TASK = 0.005


def task_pauses(section: str, think: bool, sleep: Sleep) -> tuple[Pause, Pause | None]:
    """Return how a task holds the lock, and how it thinks afterwards."""
    if section == "random":
        hold: Pause = lambda: sleep(random.random() * HOLD_IN_TASK)  # noqa: E731
    else:
        hold = partial(sleep, {"turn": 0, "1ms": 0.001}[section])
    return hold, (lambda: sleep(random.random() * THINK_IN_TASK)) if think else None


def thread_sections(section: str, think: bool) -> tuple[Section | None, Section | None]:
    """Return what a thread does under the lock, and how it thinks afterwards."""
    holds: dict[str, Section | None] = {
        "bare": None,
        "empty": _do_nothing,
        "turn": _do_nothing,
        "cpu": partial(_compute, _steps_in(CPU_SECTION)) if section == "cpu" else None,
        "io": partial(time.sleep, IO_SECTION),
        "1ms": partial(time.sleep, 0.001),
    }
    return holds[section], (
        (lambda: time.sleep(random.random() * THINK_IN_THREAD)) if think else None
    )


def _do_nothing() -> None:
    pass


def _compute(steps: int) -> None:
    for _ in range(steps):
        pass


@cache
def _steps_in(seconds: float) -> int:
    """Return how much work a thread alone does in `seconds`.

    A section is an amount of work, not of time: the clock runs on while others have the GIL. A step
    of a short count is quicker than one of a long count, whose numbers have to be made; so what is
    timed is a section.
    """
    steps = 1000
    for _ in range(6):
        fastest = min(_time_of(steps) for _ in range(500))
        steps = max(1, round(steps * seconds / fastest))
    return steps


def _time_of(steps: int) -> float:
    started = perf_counter()
    _compute(steps)
    return perf_counter() - started


async def count_in_task(
    lock: AbstractAsyncContextManager[object],
    tally: Tally,
    me: int,
    hold: Pause,
    think: Pause | None,
) -> None:
    """Contend and count."""
    counts = tally.counts
    while not tally.over:
        async with lock:
            if tally.over:
                return
            counts[me] += 1
            await hold()
        if think is not None:
            await think()


async def time_in_task(
    lock: AbstractAsyncContextManager[object],
    tally: Tally,
    me: int,
    hold: Pause,
    think: Pause | None,
) -> None:
    """Contend, count and note each wait."""
    counts, since, keep = tally.counts, tally.since, tally.waits[me].append
    while not tally.over:
        since[me] = asked = perf_counter()
        async with lock:
            waited = perf_counter() - asked
            if tally.over:
                return
            since[me] = 0.0
            if waited >= FLOOR:
                keep(waited)
            counts[me] += 1
            await hold()
        if think is not None:
            await think()


def count_in_thread(
    lock: AbstractContextManager[object],
    tally: Tally,
    me: int,
    hold: Section | None,
    think: Section | None,
) -> None:
    """Contend and count."""
    count = 0
    while not tally.over:
        with lock:
            if tally.over:
                break
            count += 1
            if hold is not None:
                hold()
        if think is not None:
            think()
    tally.counts[me] = count


def time_in_thread(
    lock: AbstractContextManager[object],
    tally: Tally,
    me: int,
    hold: Section | None,
    think: Section | None,
) -> None:
    """Contend, count and note each wait."""
    since, keep, count = tally.since, tally.waits[me].append, 0
    while not tally.over:
        since[me] = asked = perf_counter()
        with lock:
            waited = perf_counter() - asked
            if tally.over:
                break
            since[me] = 0.0
            if waited >= FLOOR:
                keep(waited)
            count += 1
            if hold is not None:
                hold()
        if think is not None:
            think()
    tally.counts[me] = count


async def heartbeat(tally: Tally, sleep: Sleep, interval: float, me: int = 0) -> None:
    """Note by how much the loop is late for a timer, again and again, some `interval` apart.

    At random, as the selector rounds timers up to the next millisecond: beats at a steady pace keep
    step with holds of a millisecond, and what they note is how the two happened to begin.
    """
    while not tally.over:
        seconds = interval * random.uniform(0.5, 1.5)
        tally.heartbeats_due[me] = due = perf_counter() + seconds
        await sleep(seconds)
        if not tally.over:
            tally.delays.append(perf_counter() - due)
