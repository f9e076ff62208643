"""The hosts: naps that end when they should, whatever becomes of their wake-ups."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar

import pytest
import trio

from backofflock import AcquireTimeout, BackoffLock, Constant, ThreadBackoffLock, WaitDetails
from backofflock._hosts import ThreadWaiter
from backofflock._hosts._asyncio import Alarm, AsyncioWaiter, finish
from backofflock._hosts._trio import TrioWaiter
from backofflock._waiter import NEVER


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def waiting(lock: BackoffLock | ThreadBackoffLock) -> int:
    return lock.statistics().tasks_waiting


def test_a_lost_wake_up_costs_one_nap(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if its waker were interrupted after noting the wake-up and before delivering it.
    monkeypatch.setattr(AsyncioWaiter, "wake", lambda self: True)

    async def main() -> float:
        lock = BackoffLock(Constant(0.05))

        async def wait() -> float:
            began = time.monotonic()
            async with lock:
                return time.monotonic() - began

        async with lock:
            waiter = asyncio.create_task(wait())
            await until(lambda: waiting(lock) == 1)
        async with asyncio.timeout(10):
            return await waiter

    assert asyncio.run(main()) >= 0.045


def test_a_slow_hook_does_not_stretch_anothers_nap() -> None:
    # A's hook takes longer than B's limit; B, behind it on the same timer, must still give up in
    # time. What it would oversleep is a nap of half a minute.
    def hook(details: WaitDetails) -> None:
        if details.ahead == 0:
            time.sleep(0.3)

    async def main() -> float:
        lock = BackoffLock(Constant(30.0), on_wait=hook)

        async def patient() -> float:
            async with lock:
                return 0.0

        async def hasty() -> float:
            began = time.monotonic()
            with pytest.raises(AcquireTimeout):
                await lock.acquire(timeout=0.2)
            return time.monotonic() - began

        async with lock:
            first = asyncio.create_task(patient())
            await until(lambda: waiting(lock) == 1)
            waited = await asyncio.create_task(hasty())
        await first
        return waited

    assert 0.2 <= asyncio.run(main()) < 10.0


def test_a_slow_hook_counts_against_the_deadline() -> None:
    lock = ThreadBackoffLock(Constant(30.0), timeout=1.0, on_wait=lambda details: time.sleep(0.9))
    lock.acquire()
    began = time.monotonic()
    with pytest.raises(AcquireTimeout), lock:
        pytest.fail("two inside")
    assert 1.0 <= time.monotonic() - began < 1.8  # not 1.9


def test_the_alarm_of_a_loop_is_one_and_goes_when_nobody_naps() -> None:
    async def main() -> None:
        lock = BackoffLock(Constant(0.01))
        alarms: list[dict[asyncio.AbstractEventLoop, Alarm]] = []

        async def wait() -> None:
            with pytest.raises(AcquireTimeout):
                await lock.acquire(max_attempts=3)
            alarms.append(dict(lock._alarms))

        async with lock:
            waits = [asyncio.create_task(wait()) for _ in range(20)]
            await until(lambda: waiting(lock) == 20)
            assert list(lock._alarms) == [asyncio.get_running_loop()]
            await asyncio.gather(*waits)
        await until(lambda: not lock._alarms)

    asyncio.run(main())


def test_the_alarms_of_closed_loops_are_forgotten() -> None:
    lock = ThreadBackoffLock(Constant(30.0))
    lock.acquire()

    async def nap_and_be_cancelled() -> None:
        task = asyncio.create_task(lock.acquire_async())
        await until(lambda: waiting(lock) == 1)
        task.cancel()
        await asyncio.wait([task])

    for _ in range(5):
        asyncio.run(nap_and_be_cancelled())
        assert len(lock._alarms) == 1


def test_naps_that_were_cut_short_do_not_pile_up_in_the_alarm() -> None:
    async def main() -> int:
        lock = BackoffLock(Constant(30.0))
        alarms: set[Alarm] = set()

        async def come_and_go() -> None:
            for _ in range(500):
                async with lock:
                    alarms.update(lock._alarms.values())
                    await asyncio.sleep(0)

        await asyncio.gather(*(come_and_go() for _ in range(4)))
        assert lock.statistics().contended > 1_000
        return sum(len(alarm._heap) for alarm in alarms)

    assert asyncio.run(main()) <= 64


def test_two_naps_of_a_waiter_may_end_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # As where the clock is coarse, or both naps were clipped to the deadline.
    now = time.monotonic()
    monkeypatch.setattr("backofflock._hosts._asyncio.monotonic", lambda: now)

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        lock = BackoffLock()
        waiter = lock._waiter(task)
        waiter.woken_at = NEVER
        waiter.resting = False
        for _ in range(3):
            nap = waiter.nap(30.0)
            assert waiter.wake()
            async with asyncio.timeout(10):
                await nap

    asyncio.run(main())


def test_a_wake_up_before_the_nap_ends_it_at_once() -> None:
    waiter = ThreadWaiter(0.0)
    assert waiter.wake()
    assert waiter.wake()  # a second one adds nothing
    began = time.monotonic()
    waiter.nap(10.0)
    assert time.monotonic() - began < 5.0
    waiter.nap(0.01)  # sleeps: both wake-ups are used up
    assert not waiter._gate.acquire(False)


@pytest.mark.parametrize("more", [0, 1], ids=["the task alone", "somebody else too"])
def test_a_task_woken_by_a_thread_goes_on_in_that_turn_of_its_loop(more: int) -> None:
    """Alone with its nap it does; if something else waits for that, it is called back as ever."""
    order: list[str] = []
    name = ContextVar("name", default="nobody")

    async def main() -> None:
        shared = ThreadBackoffLock(schedule=Constant(60.0))
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: order.append(f"{context['exception']!r}"))
        shared.acquire_nowait()

        async def enter() -> None:
            name.set("the waiter")
            async with shared:
                order.append(f"{name.get()} has it")
                await asyncio.sleep(0.01)  # which a second wake-up would cut short

        task = asyncio.create_task(enter())
        await until(lambda: waiting(shared) == 1)
        (waiter,) = shared._queue
        assert isinstance(waiter, AsyncioWaiter)
        nap = waiter._nap
        assert nap is not None
        for _ in range(more):
            nap.add_done_callback(lambda _: None)

        def release() -> None:
            shared.release()
            waiter.alarm.post(lambda: order.append("what was posted after the wake-up"))

        # The loop stands still until both have been sent.
        thread = threading.Thread(target=release)
        thread.start()
        thread.join()
        await asyncio.wait_for(task, 10)
        assert name.get() == "nobody"

    asyncio.run(main())
    expected = ["the waiter has it", "what was posted after the wake-up"]
    assert order == (expected[::-1] if more else expected)


class Interrupted(asyncio.Future[str]):
    """A future that is interrupted as it is finished: a signal's handler runs after a call."""

    at = ""

    def remove_done_callback(self, function: object, /) -> int:
        """Remove it."""
        removed = super().remove_done_callback(function)  # type: ignore[arg-type]
        if self.at == "its callback is gone":
            self.at = ""
            raise KeyboardInterrupt
        return removed

    def set_result(self, result: str, /) -> None:
        """Set it."""
        super().set_result(result)
        if self.at == "its result is set":
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["its callback is gone", "its result is set"])
def test_a_task_whose_wake_up_is_interrupted_goes_on_all_the_same(at: str) -> None:
    async def main() -> str:
        nap = Interrupted()

        async def wait() -> str:
            return await nap

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        nap.at = at
        with pytest.raises(KeyboardInterrupt):
            finish(nap, "it was woken")
        return await asyncio.wait_for(task, 10)

    assert asyncio.run(main()) == "it was woken"


def test_a_task_that_is_cancelled_while_its_wake_up_is_on_its_way_ends_once() -> None:
    async def main() -> None:
        shared = ThreadBackoffLock(schedule=Constant(60.0))
        shared.acquire_nowait()
        task = asyncio.create_task(shared.acquire_async())
        await until(lambda: waiting(shared) == 1)
        thread = threading.Thread(target=shared.release)
        thread.start()
        thread.join()
        task.cancel()  # before the loop hears of the wake-up
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not shared.locked()
        assert not waiting(shared)

    asyncio.run(main())


def test_a_thread_is_woken_out_of_a_nap_longer_than_the_platform_can_sleep() -> None:
    waiter = ThreadWaiter(0.0)
    threading.Timer(0.01, waiter.wake).start()
    began = time.monotonic()
    waiter.nap(1e9)
    assert time.monotonic() - began < 5.0


def test_a_task_waiter_is_of_the_tasks_library() -> None:
    async def main() -> str:
        task = asyncio.current_task()
        assert task is not None
        waiter = BackoffLock()._waiter(task)
        assert isinstance(waiter, AsyncioWaiter)
        return waiter.name

    async def named() -> str:
        return await asyncio.create_task(main(), name="the waiter")

    assert asyncio.run(named()) == "the waiter"


def leave_a_dead_waiter(lock: ThreadBackoffLock) -> None:
    """Let a task wait for a lock that is held, and close its loop."""

    async def wait() -> None:
        async with lock:
            pytest.fail("the lock is held")

    async def main() -> asyncio.Task[None]:
        before = waiting(lock)
        task = asyncio.create_task(wait())
        await until(lambda: waiting(lock) == before + 1)
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(main())
    left.append(task)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()


left: list[asyncio.Task[None]] = []
"""Tasks of closed loops: were they collected, their waiters would leave by themselves."""


def test_a_waiter_whose_loop_closes_after_its_wake_up_is_dropped() -> None:
    lock = ThreadBackoffLock(fair_after=0.0)
    lock._contention.grace = 0.0
    lock.acquire()
    leave_a_dead_waiter(lock)
    lock._queue[0].woken_at = time.monotonic()  # on its way while the loop was closed
    lock.release()
    assert waiting(lock) == 0
    assert lock.acquire(blocking=False)
    left.clear()


def test_waiters_of_closed_loops_do_not_pile_up_before_one_that_lives() -> None:
    lock = ThreadBackoffLock(fair_after=0.0)
    lock._contention.grace = 0.0
    lock.acquire()
    for _ in range(3):
        leave_a_dead_waiter(lock)
    entered = threading.Event()

    def enter() -> None:
        with lock:
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    end = time.monotonic() + 10
    while waiting(lock) < 4 and time.monotonic() < end:
        time.sleep(0)
    lock.release()
    assert entered.wait(10)
    thread.join()
    assert waiting(lock) == 0
    left.clear()


def test_a_waker_that_renews_the_promise_late_does_not_keep_the_alarm_from_ringing() -> None:
    # Without the GIL the loop may ring and promise anew between a waker's look and its write.
    async def main() -> None:
        lock = BackoffLock(Constant(30.0))
        async with lock:
            task = asyncio.create_task(lock.acquire())
            await until(lambda: waiting(lock) == 1)
            (alarm,) = lock._alarms.values()
            async with asyncio.timeout(10.0):  # and not the nap of the first
                for _ in range(2):
                    alarm.promise = time.monotonic() - 1.0
                    with pytest.raises(AcquireTimeout):
                        await asyncio.create_task(lock.acquire(timeout=0.001))
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())


def test_the_time_of_a_trio_waiter_is_its_own_runs_in_every_thread() -> None:
    async def main() -> tuple[float, float, float]:
        waiter = TrioWaiter(trio.lowlevel.current_task(), 0.0)

        async def ask() -> float:
            return waiter.clock()

        in_another_run = await trio.to_thread.run_sync(trio.run, ask)
        in_a_thread = await trio.to_thread.run_sync(waiter.clock)
        return in_another_run, in_a_thread, waiter.clock()

    in_another_run, in_a_thread, here = trio.run(main)
    # The clocks of two runs of trio are hours apart.
    assert here - 600 < in_another_run <= in_a_thread <= here
