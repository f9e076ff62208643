"""`VirtualClock`: asyncio programs whose time jumps; and trio's own clock, with these locks."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from backofflock import (
    AcquireTimeout,
    BackoffLock,
    Constant,
    Exponential,
    ThreadBackoffLock,
    WouldBlock,
)
from backofflock._hosts import AsyncioWaiter
from backofflock.testing import Deadlock, VirtualClock, record_attempts

HOUR = 3600.0
PATIENT = Exponential(1.0, cap=60.0, jitter=0.0)


async def hold(lock: BackoffLock | ThreadBackoffLock, seconds: float) -> None:
    async with lock:
        await asyncio.sleep(seconds)


async def held(lock: BackoffLock | ThreadBackoffLock, seconds: float) -> asyncio.Task[None]:
    """Have another task hold a lock, from now on."""
    holder = asyncio.create_task(hold(lock, seconds))
    await asyncio.sleep(0)
    assert lock.locked()
    return holder


# -- time ------------------------------------------------------------------------------------------


def test_sleeps_and_timeouts_pass_at_once_and_to_the_second() -> None:
    clock = VirtualClock()
    seen: list[float] = []

    async def main() -> str:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for seconds in (HOUR, 0.1, 86400.0 * 365):
                group.create_task(asyncio.sleep(seconds)).add_done_callback(
                    lambda _: seen.append(loop.time())
                )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.sleep(HOUR)
        return "done"

    assert clock.now == 0.0
    assert clock.run(main()) == "done"
    assert seen == [0.1, HOUR, 86400.0 * 365]
    assert clock.now == 86400.0 * 365 + 1.0


def test_a_lock_backs_off_in_virtual_time() -> None:
    clock = VirtualClock()
    lock = BackoffLock(PATIENT, timeout=HOUR, wake_on_release=False, name="orders")

    async def main() -> None:
        holder = await held(lock, 2 * HOUR)
        with pytest.raises(AcquireTimeout) as caught:
            await lock.acquire()
        assert (caught.value.reason, caught.value.waited) == ("timeout=3600.0", HOUR)
        assert clock.now == HOUR
        await holder

    with record_attempts() as recorded:
        clock.run(main())
    first = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    left = HOUR - sum(first)
    assert recorded.delays() == [*first, *[60.0] * int(left // 60), left % 60]


def test_a_wake_up_ends_a_nap_in_virtual_time_and_waits_are_measured_in_it() -> None:
    clock = VirtualClock()
    lock = BackoffLock(Constant(HOUR))

    async def main() -> None:
        holder = await held(lock, 10.0)
        async with lock:
            assert clock.now == 10.0
        await holder

    clock.run(main())
    assert lock.statistics().longest_wait == lock.statistics().total_wait == 10.0


@pytest.mark.parametrize("lock", [BackoffLock(timeout=1000.0), ThreadBackoffLock(timeout=1000.0)])
def test_attempts_step_by_step_go_by_it(lock: BackoffLock | ThreadBackoffLock) -> None:
    clock = VirtualClock()

    async def main() -> None:
        holder = await held(lock, 2000.0)
        with pytest.raises(AcquireTimeout):
            async for attempt in lock.attempts():
                assert not attempt
        assert clock.now == 1000.0
        await holder

    clock.run(main())


@pytest.mark.parametrize("make", [BackoffLock, ThreadBackoffLock])
def test_the_course_is_the_same_however_slow_the_machine_is(make: Callable[..., Any]) -> None:
    def course(stall: float) -> list[tuple[str, float]]:
        """Return who had the lock and when; the machine stalls each time."""
        clock, lock, entered = VirtualClock(), make(fair_after=1.0), []
        rng = Random(7)

        async def contend(name: str) -> None:
            for _ in range(10):
                try:
                    lock.acquire_nowait()
                except WouldBlock:
                    entered.append((f"{name} was refused", clock.now))
                    await lock._enter()
                entered.append((name, clock.now))
                time.sleep(stall)  # noqa: ASYNC251
                await asyncio.sleep(rng.choice([0.0, 0.016, 0.5, 1.0]))
                lock.release()

        async def main() -> None:
            await asyncio.gather(*(contend(name) for name in "abc"))

        clock.run(main())
        return entered

    quick = course(0.0)
    assert len({moment for _, moment in quick}) > 5
    assert quick == course(0.015)


def test_a_free_lock_is_reserved_by_the_clock_of_the_loop() -> None:
    clock, lock = VirtualClock(), BackoffLock(Constant(10.0), wake_on_release=False)

    async def main() -> None:
        holder = await held(lock, 5.0)
        waiter = asyncio.create_task(hold(lock, 0.0))
        await asyncio.sleep(6.0)
        assert holder.done()
        with pytest.raises(WouldBlock):
            lock.acquire_nowait()  # the waiter has promised to try at 10
        await waiter

    clock.run(main())
    assert clock.now == 10.0


def test_a_waiter_on_its_way_is_not_overtaken_however_late_it_is_by_the_clock() -> None:
    clock, lock, entered = VirtualClock(), BackoffLock(Constant(1.0), max_attempts=99), []

    async def enter(name: str) -> None:
        async with lock:
            entered.append((name, clock.now))

    async def main() -> None:
        await asyncio.sleep(1e9)  # later than any machine has been up
        holder = await held(lock, 2.5)
        first = asyncio.create_task(enter("first"))
        await asyncio.sleep(0.5)
        second = asyncio.create_task(enter("second"))  # its nap of 2 s ends with the hold
        await asyncio.gather(holder, first, second)

    clock.run(main())
    assert entered == [("first", 1e9 + 2.5), ("second", 1e9 + 2.5)]


# -- deadlocks -------------------------------------------------------------------------------------


def deadlock(main: Callable[[], Coroutine[Any, Any, object]]) -> Deadlock:
    with pytest.raises(Deadlock) as caught:
        VirtualClock().run(main())
    return caught.value


def test_tasks_that_nobody_will_wake_are_a_deadlock() -> None:
    async def main() -> None:
        await asyncio.sleep(5.0)
        await asyncio.create_task(asyncio.Event().wait(), name="forgotten")

    error = deadlock(main)
    assert error.now == 5.0
    assert "forgotten" in error.tasks
    assert "no timer is set" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_tasks_that_wait_for_each_others_locks_are_a_deadlock() -> None:
    one, other = BackoffLock(), BackoffLock()

    async def take(first: BackoffLock, second: BackoffLock) -> None:
        async with first:
            await asyncio.sleep(1.0)
            async with second:
                pass

    async def main() -> None:
        a = asyncio.create_task(take(one, other), name="a")
        b = asyncio.create_task(take(other, one), name="b")
        await asyncio.gather(a, b)

    error = deadlock(main)
    assert {"a", "b"} <= set(error.tasks)
    assert "tried for locks in vain" in error.reason
    assert not one.locked()
    assert not other.locked()


def test_a_waiter_with_a_time_limit_is_in_no_deadlock() -> None:
    clock, lock = VirtualClock(), BackoffLock(Constant(0.001), timeout=20.0)

    async def main() -> None:
        async with lock:
            await asyncio.create_task(lock.acquire())

    with pytest.raises(AcquireTimeout):
        clock.run(main())
    assert clock.now == 20.0


def test_nor_is_one_whose_holder_sleeps() -> None:
    clock, lock = VirtualClock(), BackoffLock(Constant(0.001))

    async def main() -> None:
        holder = await held(lock, 20.0)
        async with lock:
            await holder

    clock.run(main())
    assert clock.now == 20.0


def test_only_tries_in_a_row_are_in_vain() -> None:
    clock, lock = VirtualClock(), BackoffLock(Constant(0.001))

    async def main() -> None:
        holder = await held(lock, 11.0)
        async with lock:
            await holder
            for _ in range(2):
                with pytest.raises(AcquireTimeout):  # and no deadlock
                    await asyncio.create_task(lock.acquire(max_attempts=6000))
                await asyncio.sleep(1.0)

    clock.run(main())


# -- threads, hosts and loops ----------------------------------------------------------------------


def test_time_stands_still_while_a_thread_of_asyncio_works() -> None:
    clock, go = VirtualClock(), threading.Event()

    async def main() -> bool:
        work = asyncio.create_task(asyncio.to_thread(go.wait, 60.0))
        threading.Timer(0.05, go.set).start()
        async with asyncio.timeout(1.0):
            return await work

    assert clock.run(main())
    assert clock.now == 0.0


def test_it_is_a_loop_factory_for_anyio() -> None:
    clock = VirtualClock()

    async def main() -> None:
        with anyio.move_on_after(HOUR):
            await anyio.sleep_forever()

    anyio.run(main, backend_options={"loop_factory": clock.new_event_loop})
    assert clock.now == HOUR


def test_other_loops_go_by_the_clock_of_the_machine() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert BackoffLock()._alarms[loop].waiter is AsyncioWaiter
    finally:
        loop.close()


@pytest.mark.parametrize("wake", [True, False])
def test_on_trio_its_own_clock_does(wake: bool) -> None:
    lock = BackoffLock(PATIENT, timeout=HOUR, wake_on_release=wake)

    async def hold_long() -> None:
        async with lock:
            await trio.sleep(2 * HOUR)

    async def main() -> float:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold_long)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            with pytest.raises(AcquireTimeout):
                await lock.acquire()
            waited = trio.current_time() - began
            nursery.cancel_scope.cancel()
        return waited

    waited = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert waited == pytest.approx(HOUR)
