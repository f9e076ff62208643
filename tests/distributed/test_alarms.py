"""Risk: an alarm rings late, twice, after it was cancelled or not at all; or costs a timer each."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import Any
from unittest.mock import patch

import pytest

from backofflock.distributed._alarms import (
    FEW,
    MANY,
    Alarm,
    LoopAlarms,
    ThreadAlarms,
    alarms_of,
    thread_alarms,
)

from . import memory

SOON = 0.02


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the timers that are armed."""

    armed = 0

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, **options: Any
    ) -> asyncio.TimerHandle:
        """Arm a timer."""
        self.armed += 1
        return super().call_at(when, callback, *args, **options)


def timers() -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    return loop.armed


def run(main: Any) -> None:
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(main())


async def rung(called: list[Any], count: int) -> None:
    """Wait until so many have been called, for so long as no machine stands still."""
    async with asyncio.timeout(20.0):
        while len(called) < count:
            await asyncio.sleep(0.001)


# -- on an event loop ------------------------------------------------------------------------------


def test_alarms_of_a_loop_ring_in_order_of_time_and_not_before() -> None:
    async def main() -> None:
        loop, called = asyncio.get_running_loop(), list[tuple[int, float]]()
        alarms = alarms_of(loop)
        begun = loop.time()

        def note(n: int) -> None:
            called.append((n, loop.time()))

        for n in (3, 0, 2, 4, 1):
            alarms.call_later(n * SOON, partial(note, n))
        await rung(called, 5)
        assert [n for n, _ in called] == [0, 1, 2, 3, 4]
        assert all(when >= begun + n * SOON for n, when in called)

    run(main)


def test_a_cancelled_alarm_does_not_ring() -> None:
    async def main() -> None:
        alarms, called = alarms_of(asyncio.get_running_loop()), list[int]()
        kept = [alarms.call_later(SOON, partial(called.append, n)) for n in range(5)]
        kept[0].cancel()
        kept[3].cancel()
        kept[3].cancel()
        await rung(called, 3)
        await asyncio.sleep(SOON)
        assert called == [1, 2, 4]

    run(main)


def test_one_that_is_due_can_still_be_cancelled_by_one_that_was_due_before() -> None:
    async def main() -> None:
        alarms, called = alarms_of(asyncio.get_running_loop()), list[str]()

        def first() -> None:
            called.append("first")
            second.cancel()

        alarms.call_later(SOON, first)
        second = alarms.call_later(SOON, lambda: called.append("second"))
        alarms.call_later(2 * SOON, lambda: called.append("last"))
        await rung(called, 2)
        assert called == ["first", "last"]

    run(main)


def test_alarms_that_are_called_off_cost_one_timer_for_all() -> None:
    async def main() -> None:
        alarms = alarms_of(asyncio.get_running_loop())
        alarms.call_later(60.0, lambda: None).cancel()
        before = timers()
        for _ in range(1000):
            alarms.call_later(60.0, lambda: None).cancel()
        assert timers() == before
        assert len(alarms._heap) <= FEW + 1

    run(main)


def test_an_earlier_one_moves_the_timer() -> None:
    async def main() -> None:
        alarms, called = alarms_of(asyncio.get_running_loop()), list[str]()
        alarms.call_later(60.0, lambda: called.append("late"))
        alarms.call_later(SOON, lambda: called.append("soon"))
        await rung(called, 1)
        assert called == ["soon"]
        # What is left rings on: nothing was forgotten with the first.
        alarms.call_later(SOON, lambda: called.append("again"))
        await rung(called, 2)

    run(main)


def test_a_timer_that_rings_for_nothing_does_not_ring_again() -> None:
    async def main() -> None:
        alarms, called = alarms_of(asyncio.get_running_loop()), list[int]()
        for n in range(20):
            alarms.call_later(SOON + n * SOON / 20, lambda: None).cancel()
        before = timers()
        await asyncio.sleep(4 * SOON)
        assert timers() == before + 1, "that of the sleep"
        assert not alarms._heap
        alarms.call_later(SOON, lambda: called.append(1))
        await rung(called, 1)

    run(main)


def test_one_that_fails_is_told_to_the_loop_and_harms_no_other() -> None:
    async def main() -> None:
        loop, called, told = asyncio.get_running_loop(), list[int](), list[Any]()
        loop.set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        alarms = alarms_of(loop)
        alarms.call_later(SOON, lambda: 1 / 0)
        alarms.call_later(SOON, lambda: called.append(1))
        alarms.call_later(2 * SOON, lambda: called.append(2))
        await rung(called, 2)
        assert called == [1, 2]
        assert [type(error) for error in told] == [ZeroDivisionError]

    run(main)


def test_an_interrupt_as_alarms_ring_loses_none() -> None:
    async def main() -> None:
        loop, called = asyncio.get_running_loop(), list[int]()
        alarms = alarms_of(loop)
        for n in range(3):
            alarms.call_later(0.0, partial(called.append, n))
        alarms.call_later(SOON, partial(called.append, 3))
        call_soon, calls = loop.call_soon, list[object]()

        def interrupted(act: Callable[..., object], *rest: Any, **options: Any) -> asyncio.Handle:
            calls.append(act)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return call_soon(act, *rest, **options)

        with patch.object(loop, "call_soon", interrupted), pytest.raises(KeyboardInterrupt):
            alarms._ring()
        await rung(called, 4)
        assert called == [0, 1, 2, 3], "each once"

    run(main)


def test_one_without_end_arms_no_timer() -> None:
    async def main() -> None:
        alarms, before = alarms_of(asyncio.get_running_loop()), timers()
        alarm = alarms.call_later(inf, lambda: None)
        assert timers() == before
        alarm.cancel()

    run(main)


def test_each_loop_has_its_own_and_a_closed_one_is_forgotten() -> None:
    called: list[int] = []

    async def mine(n: int) -> LoopAlarms:
        alarms = alarms_of(asyncio.get_running_loop())
        assert alarms_of(asyncio.get_running_loop()) is alarms
        alarms.call_later(n * SOON, partial(called.append, n))
        return alarms

    first = asyncio.new_event_loop()
    gone = weakref.ref(first)
    assert first.run_until_complete(mine(1)) is not asyncio.run(mine(2))
    first.run_until_complete(asyncio.wait_for(rung(called, 1), 20.0))
    assert called == [1], "its own rang, though another loop ran meanwhile"
    first.close()
    del first
    asyncio.run(mine(3))
    gc.collect()
    assert gone() is None


# -- in threads ------------------------------------------------------------------------------------


def test_alarms_of_threads_ring_in_order_of_time_and_the_cancelled_are_forgotten() -> None:
    called: list[int] = []
    works = thread_alarms()
    now = time.monotonic()
    alarms = [
        works.call_at(now + 0.05 + 0.02 * n, partial(called.append, n)) for n in reversed(range(5))
    ]
    alarms[2].cancel()
    alarms[2].cancel()
    memory.until(lambda: len(called) == 4)
    assert called == [0, 1, 3, 4]
    for _ in range(10_000):
        works.call_at(now + 1e6, lambda: None).cancel()
    memory.until(lambda: len(works._heap) + len(works._new) <= 2 * FEW + MANY)
    works.call_at(now + inf, lambda: None).cancel()


def test_one_that_fails_keeps_none_from_ringing(capfd: pytest.CaptureFixture[str]) -> None:
    called: list[int] = []

    def fail() -> None:
        raise LookupError("a bug of a logging handler")

    works, now = thread_alarms(), time.monotonic()
    works.call_at(now + SOON, fail)
    for n in range(2):
        works.call_at(now + (1 + n) * SOON, partial(called.append, n))
    memory.until(lambda: len(called) == 2)
    assert "a bug of a logging handler" in capfd.readouterr().err


def test_threads_have_their_alarms_in_common() -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(thread_alarms())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {thread_alarms()}
    assert len([t for t in threading.enumerate() if t.name == "backofflock leases"]) == 1


def test_many_threads_that_set_the_first_alarms_start_one_thread() -> None:
    works, called, running = ThreadAlarms(), list[int](), threading.Barrier(8)

    def set_one(n: int) -> None:
        running.wait()
        works.call_at(time.monotonic() + SOON, partial(called.append, n))

    threads = [threading.Thread(target=set_one, args=(n,)) for n in range(8)]
    with patch.object(works, "_take_in", wraps=works._take_in) as looked:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        memory.until(lambda: len(called) == 8)
        assert sorted(called) == list(range(8))
        assert looked.called
    assert not works._unclaimed
    works._run()  # another that would run ends at once


def test_one_that_is_set_while_the_thread_is_about_to_wait_rings() -> None:
    works, called = ThreadAlarms(), list[str]()
    look = works._due

    def meanwhile(now: float) -> Iterator[Alarm]:
        if not called:  # by a thread that saw an earlier time, when this will look anyhow
            called.append("set")
            works._new.append((now + SOON, Alarm(lambda: called.append("rung"))))
        return look(now)

    with patch.object(works, "_due", meanwhile):
        works.call_at(time.monotonic() + SOON, lambda: called.append("first"))
        memory.until(lambda: "rung" in called)


def test_a_thread_that_waits_is_seldom_woken_for_what_is_called_off() -> None:
    works = ThreadAlarms()
    with patch.object(works, "_due", wraps=works._due) as looked:
        works.call_at(time.monotonic() + 60.0, lambda: None).cancel()
        memory.until(lambda: works._rings_at < inf and works._unchanged.locked())
        before = looked.call_count
        for _ in range(MANY):
            works.call_at(time.monotonic() + 60.0, lambda: None).cancel()
            assert works._unchanged.locked()
        assert looked.call_count == before
        for _ in range(10 * MANY):
            works.call_at(time.monotonic() + 60.0, lambda: None).cancel()
        memory.until(lambda: len(works._new) <= MANY)
        assert 1 <= looked.call_count - before < 30
