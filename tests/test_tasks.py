"""`BackoffLock`: ownership, arguments, what it tells about itself."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import subprocess
import sys
from datetime import timedelta
from typing import Any

import anyio
import pytest
import trio

from backofflock import (
    AcquireTimeout,
    BackoffLock,
    Constant,
    OwnerDied,
    Spin,
    ThreadBackoffLock,
    WaitDetails,
    WouldBlock,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_acquire_returns_true_and_release_frees() -> None:
    lock = BackoffLock()
    assert await lock.acquire() is True
    assert lock.locked()
    lock.release()
    assert not lock.locked()


async def test_the_owner_cannot_acquire_again() -> None:
    lock = BackoffLock(name="orders")
    name = anyio.get_current_task().name
    async with lock:
        for acquire in (lock.acquire, lock.__aenter__):
            with pytest.raises(RuntimeError, match="'orders'.*not reentrant") as caught:
                await acquire()
            assert str(caught.value).count(str(name)) == 2  # as the caller and as the owner
        with pytest.raises(RuntimeError, match="not reentrant"):
            lock.acquire_nowait()
        assert lock.locked()
        assert lock.statistics().tasks_waiting == 0
    assert not lock.locked()


async def test_only_the_owner_may_release() -> None:
    lock = BackoffLock(name="orders")
    refused: list[str] = []

    async def stranger() -> None:
        with pytest.raises(RuntimeError) as caught:
            lock.release()
        refused.append(str(caught.value))

    async with lock, anyio.create_task_group() as group:
        group.start_soon(stranger, name="the stranger")
    assert re.search(r"the stranger cannot release lock 'orders': it is .*'s", refused[0])
    assert not lock.locked()


async def test_releasing_a_free_lock_is_refused() -> None:
    lock = BackoffLock(name="orders")
    with pytest.raises(RuntimeError, match="'orders': no task owns it"):
        lock.release()
    async with lock:
        pass
    with pytest.raises(RuntimeError, match="no task owns it"):
        lock.release()
    assert not lock.locked()


async def test_a_body_that_released_by_hand_is_told_at_its_end() -> None:
    lock = BackoffLock()
    with pytest.raises(RuntimeError, match="no task owns it"):
        async with lock:
            lock.release()
    assert not lock.locked()


async def test_a_body_that_released_by_hand_does_not_release_the_next_holders_lock() -> None:
    lock = BackoffLock(name="orders")
    inside, leave = anyio.Event(), anyio.Event()

    async def the_next() -> None:
        async with lock:
            inside.set()
            await leave.wait()
            assert lock.locked()

    async with anyio.create_task_group() as group:
        with pytest.raises(RuntimeError, match="cannot release lock 'orders': it is the next's"):
            async with lock:
                lock.release()
                group.start_soon(the_next, name="the next")
                await inside.wait()
        assert lock.locked()
        leave.set()
    assert not lock.locked()


async def test_acquire_nowait() -> None:
    lock = BackoffLock(name="orders")
    lock.acquire_nowait()
    failures: list[WouldBlock] = []

    async def try_it() -> None:
        with pytest.raises(anyio.WouldBlock) as caught:
            lock.acquire_nowait()
        assert isinstance(caught.value, WouldBlock)
        failures.append(caught.value)

    async with anyio.create_task_group() as group:
        group.start_soon(try_it)
    assert failures[0].lock == "orders"
    lock.release()
    assert not lock.locked()


async def test_an_owner_that_ended_is_found_by_those_who_wait_and_those_who_come() -> None:
    lock = BackoffLock(name="orders")
    found: list[OwnerDied] = []

    async def dies_holding() -> None:
        await lock.acquire()
        await anyio.wait_all_tasks_blocked()

    async def waits() -> None:
        with pytest.raises(OwnerDied) as caught:
            await lock.acquire()
        found.append(caught.value)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(dies_holding, name="the late owner")
            await anyio.lowlevel.checkpoint()
            group.start_soon(waits)
        await waits()
    assert [error.owner for error in found] == ["the late owner"] * 2
    assert found[0].attempts > 1
    assert found[1].attempts == 1
    assert lock.statistics().tasks_waiting == 0
    with pytest.raises(WouldBlock):
        lock.acquire_nowait()


async def test_a_timeout_may_be_a_timedelta_and_overrides_the_constructors() -> None:
    lock = BackoffLock(timeout=3600.0, max_attempts=1000)

    async def gives_up() -> None:
        with pytest.raises(TimeoutError) as caught:
            await lock.acquire(timeout=timedelta(milliseconds=20), max_attempts=None)
        assert isinstance(caught.value, AcquireTimeout)
        assert caught.value.waited >= 0.02
        with pytest.raises(AcquireTimeout, match="max_attempts=2"):
            await lock.acquire(timeout=None, max_attempts=2)

    async with lock, anyio.create_task_group() as group:
        group.start_soon(gives_up)


async def test_the_constructors_limits_hold_for_async_with() -> None:
    lock = BackoffLock(Spin(), max_attempts=3)

    async def gives_up() -> None:
        with pytest.raises(AcquireTimeout) as caught:
            async with lock:
                pytest.fail("two inside")
        assert caught.value.attempts == 3

    async with lock, anyio.create_task_group() as group:
        group.start_soon(gives_up)


async def test_statistics_name_the_owner_as_anyio_does() -> None:
    lock = BackoffLock()
    assert lock.statistics().owner is None
    async with lock:
        statistics = lock.statistics()
        me = anyio.get_current_task()
        assert statistics.owner == me
        assert statistics.owner is not None
        assert statistics.owner.name == me.name
    assert lock.statistics().owner is None


async def test_on_wait_and_the_log_tell_the_same(caplog: pytest.LogCaptureFixture) -> None:
    told: list[WaitDetails] = []
    lock = BackoffLock(Constant(0.001), name="orders", on_wait=told.append)

    async def waits() -> None:
        with pytest.raises(AcquireTimeout):
            await lock.acquire(max_attempts=3)

    with caplog.at_level(logging.DEBUG, logger="backofflock"):
        async with lock, anyio.create_task_group() as group:
            group.start_soon(waits, name="the waiter")
    assert [(details.lock, details.waiter, details.attempt) for details in told] == [
        ("orders", "the waiter", 1),
        ("orders", "the waiter", 2),
    ]
    records: list[Any] = [record for record in caplog.records if record.name == "backofflock"]
    assert [record.levelno for record in records] == [logging.DEBUG] * 2
    assert [
        WaitDetails(r.lock, r.waiter, r.attempt, r.delay, r.waited, r.remaining, r.ahead)
        for r in records
    ] == told
    assert "the waiter waits for orders: attempt 1 failed" in records[0].getMessage()


async def test_an_on_wait_that_raises_ends_the_wait_cleanly() -> None:
    def refuse(details: WaitDetails) -> None:
        raise LookupError(details.waiter)

    lock = BackoffLock(on_wait=refuse)

    async def waits() -> None:
        with pytest.raises(LookupError, match="the waiter"):
            await lock.acquire()

    async with lock, anyio.create_task_group() as group:
        group.start_soon(waits, name="the waiter")
    assert not lock.locked()
    assert lock.statistics().tasks_waiting == 0


async def test_the_delays_come_from_the_locks_rng() -> None:
    def delays(seed: int) -> list[float]:
        return list(Constant((0.0, 0.001), jitter=1.0).take(3).delays(random.Random(seed)))

    told: list[float] = []
    lock = BackoffLock(
        Constant((0.0, 0.001), jitter=1.0).take(3),
        rng=random.Random(7),
        wake_on_release=False,
        on_wait=lambda details: told.append(details.delay),
    )

    async def waits() -> None:
        with pytest.raises(AcquireTimeout, match="exhausted"):
            await lock.acquire()

    async with lock, anyio.create_task_group() as group:
        group.start_soon(waits)
    assert told == delays(7)
    assert told != delays(8)


def test_it_needs_a_task() -> None:
    lock = BackoffLock()
    for call in (lock.acquire_nowait, lock.release):
        with pytest.raises(RuntimeError, match="in a task of asyncio or trio"):
            call()


def test_trio_as_a_guest_of_asyncio_is_trio() -> None:
    lock = BackoffLock()

    async def as_guest() -> str:
        async with lock:
            owner = lock.statistics().owner
            assert owner is not None
            assert owner.id == id(trio.lowlevel.current_task())
        return "done"

    async def host() -> str:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            as_guest,
            run_sync_soon_threadsafe=asyncio.get_running_loop().call_soon_threadsafe,
            done_callback=done.set_result,
        )
        return str((await done).unwrap())

    assert asyncio.run(host()) == "done"


def test_trios_virtual_time_is_the_time_of_limits_too() -> None:
    async def main() -> float:
        lock = BackoffLock()
        await lock.acquire()
        start = trio.current_time()

        async def gives_up() -> None:
            with pytest.raises(AcquireTimeout):
                await lock.acquire(timeout=60.0)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(gives_up)
        lock.release()
        return trio.current_time() - start

    clock = trio.testing.MockClock(autojump_threshold=0)
    assert trio.run(main, clock=clock) == pytest.approx(60.0)


@pytest.mark.parametrize("face", [BackoffLock, ThreadBackoffLock])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"schedule": 0.5}, "schedule must be a Schedule .*not 0.5"),
        ({"timeout": -1}, "timeout must be .* not -1 .None means no limit"),
        ({"timeout": float("nan")}, "timeout must be .* not nan"),
        ({"timeout": float("inf")}, "timeout must be .* not inf .None means no limit"),
        ({"timeout": True}, "timeout must be .* not True"),
        ({"timeout": "2"}, "timeout must be .* not '2'"),
        ({"max_attempts": 0}, "max_attempts must be .* >= 1 .* not 0"),
        ({"max_attempts": 1.0}, "max_attempts must be a whole number .* not 1.0"),
        ({"max_attempts": True}, "max_attempts must be a whole number .* not True"),
        ({"fair_after": -0.1}, "fair_after must be .* not -0.1"),
        ({"wake_on_release": 1}, "wake_on_release must be True or False, not 1"),
        ({"name": 7}, "name must be a str or None, not 7"),
        ({"on_wait": 7}, "on_wait must be a plain function .* not 7"),
        ({"on_wait": asyncio.sleep}, "on_wait must be a plain function"),
        ({"rng": 7}, r"rng must have a method random\(\).* not 7"),
    ],
)
def test_bad_arguments_are_refused_in_words(
    face: type[BackoffLock | ThreadBackoffLock], arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        face(**arguments)


@pytest.mark.parametrize("face", [BackoffLock, ThreadBackoffLock])
def test_name_and_repr(face: type[BackoffLock | ThreadBackoffLock]) -> None:
    lock = face(name="orders")
    assert lock.name == "orders"
    assert re.fullmatch(rf"<unlocked .*{face.__name__} 'orders' at 0x[0-9a-f]+>", repr(lock))
    assert re.fullmatch(rf"<unlocked .*{face.__name__} object at 0x[0-9a-f]+>", repr(face()))


EAGER = """
import asyncio
from backofflock import BackoffLock

async def main():
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    lock = BackoffLock()
    await asyncio.create_task(lock.acquire(), name="gone")  # it ends as soon as it is made
    print(lock.statistics().owner.name)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has eager tasks from 3.12 on")
def test_statistics_name_an_eager_owner_that_has_ended() -> None:
    # In a process of its own: CPython 3.12.1 crashes when asked for the coroutine of such a task.
    result = subprocess.run([sys.executable, "-c", EAGER], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "gone\n"), result.stderr
