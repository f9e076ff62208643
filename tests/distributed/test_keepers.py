"""Who renews: until stopped or lost, in tasks and threads, and what is left afterwards."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import ContextVar
from math import inf
from typing import Any, cast

import anyio
import pytest

from backofflock import DistributedLock, LeaseLost, ThreadDistributedLock
from backofflock.distributed._alarms import thread_alarms
from backofflock.distributed._keepers import (
    AsyncioKeeper,
    TaskKeeper,
    ThreadKeeper,
    TrioKeeper,
)
from backofflock.leases import Lease, clock

from . import memory
from .hosts import on_each_host, run, until
from .memory import AsyncMemory, Memory


def a_lease(ttl: float = 30.0) -> Lease:
    return Lease("orders", "a token", 7, ttl, clock())


def keep(
    host: str,
    lease: Lease,
    renew: Callable[[Lease], Awaitable[str]],
    on_loss: Callable[[], None] = lambda: None,
    begins_in: float = 0.0,
) -> TaskKeeper:
    kind = TrioKeeper if host == "trio" else AsyncioKeeper
    return kind(lease, begins_in, renew, on_loss)


# -- in tasks --------------------------------------------------------------------------------------


@on_each_host
def test_a_loss_ends_the_lease_and_is_told_and_logged(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async def renew(_lease: Lease) -> str:
            await anyio.sleep(0.0)
            return "the key was deleted"

        lease, lost = a_lease(), list[bool]()
        keeper = keep(host, lease, renew, lambda: lost.append(lease.lost.is_set()))
        await until(lambda: lost)
        assert lost == [True]
        assert lease.lost.reason == "the key was deleted"
        assert not keeper.is_orphan(), "its loop still runs"
        keeper.stop()

    with caplog.at_level(logging.ERROR, "backofflock"):
        run(host, main)
    assert len(caplog.messages) == 1
    assert "the lease of lock 'orders' with fence 7 was lost" in caplog.messages[0]


@on_each_host
def test_an_error_of_the_backend_is_a_loss(host: str) -> None:
    async def main() -> None:
        async def renew(_lease: Lease) -> str:
            raise LookupError("a bug")

        lease, lost = a_lease(), list[int]()
        keep(host, lease, renew, lambda: lost.append(1))
        await until(lambda: lost)
        assert lease.lost.reason == "it could not be renewed: a bug"

    run(host, main)


@on_each_host
@pytest.mark.parametrize("begins_in", [0.0, 60.0])
def test_stopped_it_tells_nobody(host: str, begins_in: float) -> None:
    async def main() -> None:
        ended: list[str] = []

        async def renew(_lease: Lease) -> str:
            try:
                await anyio.sleep(60.0)
            finally:
                ended.append("renew")
            return "the key was deleted"

        lease = a_lease()
        keeper = keep(host, lease, renew, lambda: ended.append("loss"), begins_in)
        await anyio.sleep(0.005)
        keeper.stop()
        keeper.stop()  # twice is no harm
        await anyio.sleep(0.005)
        assert ended in (["renew"], [])
        assert not lease.lost.is_set()
        assert not keeper.is_orphan()

    run(host, main)


@on_each_host
def test_a_lease_that_was_released_first_is_not_lost(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        over = anyio.Event()

        async def renew(_lease: Lease) -> str:
            await anyio.sleep(0.01)
            over.set()
            return "the key was deleted"

        lease, lost = a_lease(), list[int]()
        keep(host, lease, renew, lambda: lost.append(1))
        assert lease.lost.end("it was released")
        await over.wait()
        await anyio.sleep(0.005)
        assert lost == []
        assert lease.lost.reason == "it was released"

    run(host, main)
    assert not caplog.records


@on_each_host
def test_it_is_an_orphan_once_its_run_is_over(host: str) -> None:
    keepers: list[TaskKeeper] = []

    async def renew(_lease: Lease) -> str:
        await anyio.sleep(60.0)
        return ""

    async def main() -> None:
        keepers.append(keep(host, a_lease(), renew, begins_in=0.0))
        keepers.append(keep(host, a_lease(), renew, begins_in=60.0))
        await anyio.sleep(0.005)
        assert not any(keeper.is_orphan() for keeper in keepers)

    run(host, main)
    assert all(keeper.is_orphan() for keeper in keepers)


def test_on_asyncio_no_task_before_the_first_renewal() -> None:
    async def main() -> None:
        before = len(asyncio.all_tasks())
        async with DistributedLock("orders", AsyncMemory()):
            await asyncio.sleep(0.005)
            assert len(asyncio.all_tasks()) == before

    run("asyncio", main)


def test_nothing_of_a_keeper_is_left_in_the_loop() -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, ttl=1.0)
        before = len(asyncio.all_tasks())
        for turn in range(3):
            async with lock:
                await until(lambda: backend.store.requests["renew"] > turn)  # noqa: B023
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == before

    run("asyncio", main)


def test_cancelled_by_others_the_body_is_still_cancelled_at_the_deadline() -> None:
    # What some frameworks do to end: all tasks are cancelled, also the one that renews.
    async def main() -> None:
        lock = DistributedLock("orders", AsyncMemory(), ttl=0.15)
        with pytest.raises(LeaseLost):
            async with lock:
                await until(
                    lambda: any(t.get_name() == "lease of orders" for t in asyncio.all_tasks())
                )
                for task in asyncio.all_tasks():
                    if task.get_name() == "lease of orders":
                        task.cancel()
                await asyncio.sleep(20.0)

    run("asyncio", main, limit=10.0)


TTL = 1.5
"""Seconds, of which a quarter at the least is between renewals, and a third at the most."""


@on_each_host
def test_it_does_renew(host: str) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        began = time.monotonic()
        async with DistributedLock("orders", backend, ttl=TTL) as lease:
            await until(lambda: backend.store.requests["renew"] >= 5)
            assert time.monotonic() - began > TTL
            lease.ensure_held()
            assert backend.store.holder("orders") == lease.token
        sent = backend.store.requests["renew"]
        await anyio.sleep(TTL / 2)
        assert backend.store.requests["renew"] == sent

    run(host, main)


# -- in threads ------------------------------------------------------------------------------------


def renewers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("lease of")]


def test_a_thread_renews_and_ends_with_the_lease() -> None:
    backend = Memory()
    lock = ThreadDistributedLock("orders", backend, ttl=TTL)
    began = time.monotonic()
    with lock as lease:
        assert not renewers()
        memory.until(lambda: backend.store.requests["renew"] >= 5)
        assert time.monotonic() - began > TTL
        lease.ensure_held()
        assert backend.store.holder("orders") == lease.token
        assert len(renewers()) == 1
    memory.until(lambda: not renewers())
    sent = backend.store.requests["renew"]
    time.sleep(TTL / 2)
    assert backend.store.requests["renew"] == sent


def test_a_loss_is_noticed_by_those_who_wait_for_it(caplog: pytest.LogCaptureFixture) -> None:
    backend = Memory()
    lock = ThreadDistributedLock("orders", backend, ttl=0.2)
    lease = lock.acquire()
    backend.store.delete("orders")
    assert lease.lost.wait(10.0)
    assert "another has it" in lease.lost.reason
    with pytest.raises(LeaseLost):
        lock.release()
    memory.until(lambda: not renewers())
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


def test_renewal_for_a_while_of_a_lease_without_end() -> None:
    backend = Memory()
    backend.store.granted_ttl = inf
    lock = ThreadDistributedLock("orders", backend, ttl=TTL, renewal=TTL)
    lease = lock.acquire()
    memory.until(lambda: backend.store.requests["renew"] >= 2)
    time.sleep(TTL)
    lease.ensure_held()
    lock.release()
    memory.until(lambda: not renewers())


def test_a_thread_that_cannot_be_started_costs_its_lease_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = Memory()
    thread_alarms()
    other = ThreadDistributedLock("bills", backend, ttl=TTL)
    lock = ThreadDistributedLock("orders", backend, ttl=0.2)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "lease of orders":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    lease, unhurt = lock.acquire(), other.acquire()
    assert lease.lost.wait(10.0)
    memory.until(lambda: backend.store.requests["renew"] >= 5)
    unhurt.ensure_held()
    with pytest.raises(LeaseLost):
        lock.release()
    other.release()
    memory.until(lambda: not renewers())


def test_a_keeper_of_threads_that_is_stopped_before_it_began() -> None:
    lease = a_lease()
    keeper = ThreadKeeper(lease, 60.0, lambda _lease, _sleep: "the key was deleted")
    keeper.stop()
    keeper.stop()
    assert not renewers()
    assert not lease.lost.is_set()


def test_a_keeper_that_hangs_in_a_request_does_not_hold_up_the_release() -> None:
    backend = Memory()
    lock = ThreadDistributedLock("orders", backend, ttl=0.2)
    hung = backend.trouble("renew", before=inf)
    with pytest.raises(LeaseLost), lock as lease:
        memory.until(lambda: backend.under_way["renew"])
        assert lease.lost.wait(10.0)
    assert backend.under_way["renew"] == 1
    assert not lock.locked()
    hung.let_go.set()
    memory.until(lambda: not renewers())


def test_leases_are_freed_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        lock = ThreadDistributedLock("orders", Memory())
        for _ in range(1000):
            with lock:
                pass
        assert len([o for o in gc.get_objects() if isinstance(o, Lease)]) < 200
    finally:
        gc.enable()


def test_a_thread_that_can_be_started_later_renews(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, refused = Memory(), list[str]()
    lock = ThreadDistributedLock("orders", backend, ttl=4.0)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "lease of orders" and len(refused) < 3:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with lock as lease:
        memory.until(lambda: backend.store.requests["renew"] >= 2)
        lease.ensure_held()
    assert len(refused) == 3
    memory.until(lambda: not renewers())


class BrokenLog(logging.Handler):
    """Of a log server that is down."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds

    def emit(self, record: logging.LogRecord) -> None:
        """Take some time, and fail."""
        time.sleep(self.seconds)
        raise ConnectionError("the log server is down")


@pytest.fixture
def broken_log() -> Iterator[BrokenLog]:
    handler = BrokenLog()
    logging.getLogger("backofflock").addHandler(handler)
    yield handler
    logging.getLogger("backofflock").removeHandler(handler)


@on_each_host
def test_a_log_that_fails_does_not_keep_a_loss_from_the_body(
    host: str, broken_log: BrokenLog, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        backend = AsyncMemory()
        lock = DistributedLock("orders", backend, ttl=0.3)
        began = clock()
        with pytest.raises(LeaseLost):
            async with lock:
                backend.store.delete("orders")
                await anyio.sleep(20.0)
        assert clock() - began < 10.0

    run(host, main)
    assert "the log server is down" in capfd.readouterr().err


def test_a_log_that_is_slow_holds_up_no_renewal_of_others(broken_log: BrokenLog) -> None:
    broken_log.seconds = 4.0
    backend = Memory()
    lost = ThreadDistributedLock("bills", backend, ttl=0.1, renewal=False).acquire()
    with ThreadDistributedLock("orders", backend, ttl=3.0) as lease:
        memory.until(lost.lost.is_set)
        memory.until(lambda: backend.store.requests["renew"] >= 2)
        lease.ensure_held()
    memory.until(lambda: not renewers())


def test_an_interrupt_in_a_renewal_leaves_a_body_that_is_cancelled_at_the_deadline() -> None:
    backend = AsyncMemory()
    lock = DistributedLock("orders", backend, ttl=0.5)
    backend.trouble("renew", error=KeyboardInterrupt(), times=1)
    ended: list[float] = []

    async def hold() -> None:
        async with lock as lease:
            try:
                await asyncio.sleep(20.0)
            finally:
                ended.append(clock() - lease.lost.deadline)

    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(hold())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        with pytest.raises(LeaseLost):
            loop.run_until_complete(asyncio.wait_for(task, 30.0))
    finally:
        loop.close()
    assert 0.0 <= ended[0] < 5.0


def test_a_task_factory_that_knows_of_no_contexts() -> None:
    def factory(
        loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], name: str | None = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=loop, name=name)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(cast("Any", factory))
        backend = AsyncMemory()
        async with DistributedLock("orders", backend, ttl=3.0) as lease:
            await until(lambda: backend.store.requests["renew"] >= 2)
            lease.ensure_held()

    run("asyncio", main)


def test_a_release_while_no_thread_can_be_started_is_no_loss(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lock = ThreadDistributedLock("orders", Memory(), ttl=0.4)
    start, refused = threading.Thread.start, threading.Event()

    def refuse(thread: threading.Thread) -> None:
        if thread.name != "lease of orders":
            start(thread)
            return
        if not refused.is_set():
            lock.release()
            refused.set()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    lock.acquire()
    assert refused.wait(10.0)
    memory.until(lambda: "no thread to renew it" in caplog.text)
    assert "was lost" not in caplog.text


def test_a_renewal_has_the_context_of_its_own_task() -> None:
    request = ContextVar("request", default="none")
    seen: list[str] = []

    class Tracing(AsyncMemory):
        async def renew(self, name: str, token: str, ttl: float) -> bool:
            seen.append(request.get())
            return await super().renew(name, token, ttl)

    async def main() -> None:
        backend = Tracing()

        async def use(name: str, seen_before: int) -> None:
            request.set(name)
            async with DistributedLock(name, backend, ttl=3.0):
                await until(lambda: len(seen) >= seen_before)

        await asyncio.create_task(use("one that arms the timer of the loop", 0))
        await asyncio.create_task(use("another", 2))

    run("asyncio", main)
    assert set(seen) == {"another"}
