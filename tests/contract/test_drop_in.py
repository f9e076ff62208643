"""Risk: it does not do where the lock it stands in for does."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import queue
import re
import threading
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from backofflock import BackoffLock, ThreadBackoffLock

from .checks import assert_at_rest
from .hosts import ON_ANYIO_ASYNCIO, ON_ANYIO_TRIO, ON_ASYNCIO, Host, pairs
from .subjects import VARIANTS, Make, Variant
from .worlds import World

PATIENCE = 10.0
OWNED = [variant for variant in VARIANTS if variant.owned]

ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((True,), {}),
    ((False,), {}),
    ((1, 0.001), {}),
    ((0,), {}),
    ((True, -1), {}),
    ((True, 0), {}),
    ((True, 0.001), {}),
    ((), {"blocking": False}),
    ((), {"timeout": 0.001}),
    ((), {"blocking": False, "timeout": -1}),
    ((False, 1), {}),
    ((False, 0), {}),
    ((True, -2), {}),
    ((True, -0.5), {}),
    ((True, float("nan")), {}),
    ((True, float("inf")), {}),
    ((True, 1e12), {}),
    ((True, "1"), {}),
    ((True, None), {}),
    ((None, None), {}),
    (([],), {}),
    ((True, 1, 1), {}),
    ((), {"block": True}),
]

FOR_EVER: list[tuple[tuple[Any, ...], dict[str, Any]]] = [((), {}), ((True,), {}), ((True, -1), {})]
"""Those that wait without a limit: in the test of a held lock they get one."""


def result(call: Callable[[], object]) -> object:
    """Return what a call returns, or the type and, where the lock itself speaks, text it raises."""
    try:
        return call()
    except (ValueError, OverflowError) as error:
        return type(error), str(error)
    except TypeError as error:
        return type(error)


@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
@pytest.mark.parametrize(("args", "kwargs"), ARGUMENTS, ids=repr)
def test_acquire_takes_and_refuses_what_threading_lock_does(
    args: tuple[Any, ...], kwargs: dict[str, Any], held: bool
) -> None:
    if held and (args, kwargs) in FOR_EVER:
        args, kwargs = (True, 0.001), {}

    def outcome(lock: Any) -> tuple[object, bool]:
        if held:
            lock.acquire()
        return result(lambda: lock.acquire(*args, **kwargs)), lock.locked()

    assert outcome(ThreadBackoffLock()) == outcome(threading.Lock())


def test_release_of_a_free_lock_as_threading_lock() -> None:
    for lock in (threading.Lock(), ThreadBackoffLock()):
        with pytest.raises(RuntimeError, match="release unlocked lock"):
            lock.release()
        assert lock.acquire(False)  # and one key still
        assert not lock.acquire(False)


def test_threading_condition() -> None:
    """A producer and consumers, with the waits and the ownership checks of the real thing."""
    condition = threading.Condition(ThreadBackoffLock())  # type: ignore[arg-type]
    items: list[int] = []
    eaten: queue.Queue[int] = queue.Queue()

    def consume() -> None:
        for _ in range(20):
            with condition:
                assert condition.wait_for(lambda: items, timeout=PATIENCE)
                eaten.put(items.pop())

    consumers = [threading.Thread(target=consume) for _ in range(3)]
    for consumer in consumers:
        consumer.start()
    for item in range(60):
        with condition:
            items.append(item)
            condition.notify()
    for consumer in consumers:
        consumer.join(PATIENCE)
    assert sorted(eaten.queue) == list(range(60))
    for refused in (condition.wait, condition.notify):
        with pytest.raises(RuntimeError, match="un-acquired"):
            refused()
    with condition:
        assert condition.wait(timeout=0.001) is False
    assert condition.acquire(timeout=0.001)
    condition.release()


def test_threading_condition_takes_the_lock_back_without_limits() -> None:
    """`Condition.wait` must come back with the lock held, whatever limits the lock has."""
    lock = ThreadBackoffLock(timeout=0.001, max_attempts=1)
    condition = threading.Condition(lock)  # type: ignore[arg-type]
    held_after: list[bool] = []
    waiting = threading.Event()

    def wait() -> None:
        with condition:
            waiting.set()
            condition.wait(PATIENCE)
            held_after.append(lock.locked())

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert waiting.wait(PATIENCE)
    while not lock.acquire(False):
        pass
    condition.notify()
    # The notified waiter queues for the lock, longer than the limits of the lock allow.
    while not lock.statistics().tasks_waiting:
        pass
    assert lock.statistics().timeouts == 0
    condition.wait(0.010)
    lock.release()
    waiter.join(PATIENCE)
    assert held_after == [True]
    assert not lock.locked()


def check_asyncio_condition(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        subject = make()
        condition = asyncio.Condition(subject.lock)  # type: ignore[arg-type]
        ready: list[int] = []

        async def wait(world: World) -> None:
            async with condition:
                await condition.wait_for(lambda: ready)
                ready.pop()

        waiters = [world.spawn(wait) for _ in range(3)]
        for item in range(3):
            async with condition:
                ready.append(item)
                condition.notify()
            await world.sleep(0)
        await world.join(waiters)
        await assert_at_rest(world, subject)

    host.run(main)


def check_anyio_condition(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        subject = make()
        condition = anyio.Condition(subject.lock)  # type: ignore[arg-type]
        ready: list[int] = []

        async def wait(world: World) -> None:
            async with condition:
                while not ready:
                    await condition.wait()
                ready.pop()

        waiters = [world.spawn(wait) for _ in range(3)]
        cancelled = world.spawn(wait)
        await world.until(lambda: condition.statistics().tasks_waiting == 4, "four that wait")
        cancelled.cancel()
        await world.join([cancelled])
        async with condition:
            told: object = condition.statistics().lock_statistics
            assert told == subject.lock.statistics()
            ready.extend(range(3))
            condition.notify_all()
        await world.join(waiters)
        await assert_at_rest(world, subject)

    host.run(main)


def check_where_anyio_lock_is_used(make: Make, host: Host) -> None:
    """The same calls on both, the same answers."""

    async def main(world: World) -> None:
        subject = make()
        for lock in (anyio.Lock(), subject.lock):
            assert isinstance(lock, anyio.Lock | BackoffLock)
            idle = lock.statistics()
            assert (idle.locked, idle.owner, idle.tasks_waiting) == (False, None, 0)
            async with lock as entered:
                assert entered is None
                assert lock.locked()
                held = lock.statistics()
                assert held.locked
                assert held.owner == anyio.get_current_task()
            lock.acquire_nowait()
            with pytest.raises(RuntimeError):
                lock.acquire_nowait()
            with pytest.raises(RuntimeError):
                await lock.acquire()

            async def other(world: World, lock: anyio.Lock | BackoffLock = lock) -> None:
                with pytest.raises(anyio.WouldBlock):
                    lock.acquire_nowait()
                with pytest.raises(RuntimeError):
                    lock.release()
                with anyio.move_on_after(0.005) as scope:
                    await lock.acquire()
                assert scope.cancelled_caught

            await world.join([world.spawn(other)])
            lock.release()
            with pytest.raises(RuntimeError):
                lock.release()
            assert not lock.locked()
        await assert_at_rest(world, subject)

    host.run(main)


@pairs(OWNED, [ON_ASYNCIO, ON_ANYIO_ASYNCIO])
def test_asyncio_condition(make: Make, host: Host) -> None:
    check_asyncio_condition(make, host)


@pairs(OWNED, [ON_ANYIO_ASYNCIO, ON_ANYIO_TRIO])
def test_anyio_condition(make: Make, host: Host) -> None:
    check_anyio_condition(make, host)


@pairs(OWNED, [ON_ANYIO_ASYNCIO, ON_ANYIO_TRIO])
def test_where_anyio_lock_is_used(make: Make, host: Host) -> None:
    check_where_anyio_lock_is_used(make, host)


@pytest.mark.parametrize("make", VARIANTS, ids=lambda variant: variant.name)
def test_repr_weakref_subclass_and_no_copies(make: Variant) -> None:
    lock = make().lock

    # As threading.Lock: the state, the type, and where it is.
    pattern = rf"<unlocked backofflock\.\w+\.{type(lock).__name__} .*at {id(lock):#x}>"
    assert re.fullmatch(pattern, repr(lock))
    assert re.fullmatch(r"<unlocked .* at 0x\w+>", repr(threading.Lock()))

    for refused in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot pickle"):
            refused(lock)
        with pytest.raises(TypeError, match="cannot pickle"):
            refused(threading.Lock())

    class Tagged(type(lock)):  # type: ignore[misc]
        def __init__(self, tag: str, **options: Any) -> None:
            super().__init__(**options)
            self.tag = tag

    tagged = Tagged("a tag", name="mine")

    async def take() -> str:
        async with tagged:
            return repr(tagged)

    assert re.fullmatch(r"<locked .*Tagged 'mine' at 0x\w+>", asyncio.run(take()))
    assert tagged.tag == "a tag"
    assert not tagged.locked()

    reference = weakref.ref(lock)
    assert weakref.WeakKeyDictionary({lock: 1})[lock] == 1
    assert reference() is lock
    del lock
    gc.collect()
    assert reference() is None
