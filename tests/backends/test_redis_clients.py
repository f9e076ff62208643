"""The clients of Redis: whose they are, on which event loop, and what a cancel leaves behind."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from types import FrameType
from typing import Any, cast

import pytest
import redis
import redis.asyncio

from backofflock import Busy, DistributedLock, Grant, ThreadDistributedLock
from backofflock.backends._redis_tasks import RedisInTasks
from backofflock.backends.redis import RedisBackend

from .servers.base import Server
from .servers.redis import RedisServer

PATIENCE = 20.0


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> RedisServer:
    server = cast("RedisServer", server_of("redis"))
    server.admin.flushall()
    until(lambda: clients_of(server) == 0)
    return server


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fail if it does not come."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.001)


def clients_of(server: RedisServer) -> int:
    """Return how many are connected, apart from the tests."""
    clients: int = server.admin.info("clients")["connected_clients"]
    return clients - 1


def in_tasks(backend: RedisBackend) -> RedisInTasks:
    calls = backend.native("asyncio")
    assert isinstance(calls, RedisInTasks)
    return calls


# -- clients of the user's -------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"protocol": 3, "decode_responses": True}])
def test_a_client_for_threads_serves_tasks_too_and_stays_open(
    server: RedisServer, options: dict[str, Any]
) -> None:
    client = redis.Redis(port=server.port, **options)
    with client, RedisBackend(client) as backend:
        assert str(backend) == f"redis://localhost:{server.port}/0"
        with ThreadDistributedLock("orders", backend) as lease:
            assert not server.is_free("orders")
            assert lease.fence > 0

        async def main() -> None:
            assert backend.native("asyncio") is None
            async with DistributedLock("orders", backend):
                assert not server.is_free("orders")

        asyncio.run(main())
        connected = clients_of(server)
        backend.close()
        asyncio.run(backend.aclose())
        assert clients_of(server) == connected > 0
        assert client.ping()
    until(lambda: clients_of(server) == 0)


def test_clients_of_both_kinds_serve_threads_and_tasks(server: RedisServer) -> None:
    async def main() -> None:
        here = redis.asyncio.Redis(port=server.port, decode_responses=True)
        with redis.Redis(port=server.port) as there:
            backend = RedisBackend(there, here)
            async with DistributedLock("orders", backend):
                assert isinstance(backend.try_acquire("orders", "another", 30.0), Busy)
            await backend.aclose()
            assert await here.ping()
            assert there.ping()
        await here.aclose()

    asyncio.run(main())


def test_a_client_for_asyncio_alone_serves_its_loop_alone(server: RedisServer) -> None:
    async def main() -> None:
        async with redis.asyncio.Redis(port=server.port) as client:
            backend = RedisBackend(client)
            async with DistributedLock("orders", backend):
                assert not server.is_free("orders")
            with pytest.raises(TypeError, match="has a client for asyncio only"):
                backend.native("trio")
            with pytest.raises(TypeError, match="threads and trio need redis.Redis"):
                backend.try_acquire("orders", "a", 30.0)

    asyncio.run(main())


def test_what_is_no_client_is_refused() -> None:
    one, other = redis.Redis(), redis.Redis()
    for clients in ((), (one, other), (one, one, other)):
        with pytest.raises(TypeError, match="one for threads, one for asyncio, or one of each"):
            RedisBackend(*clients)
    for thing in ("redis://localhost", None, redis.ConnectionPool()):
        with pytest.raises(TypeError, match="clients must be those of redis-py"):
            RedisBackend(thing)  # type: ignore[arg-type]


def test_a_client_of_sentinel_names_its_service() -> None:
    sentinel: Any = redis.Sentinel([("localhost", 1)])  # type: ignore[no-untyped-call]
    backend = RedisBackend(sentinel.master_for("jobs", password="s3cret"))
    assert str(backend) == "redis service 'jobs' of Sentinel, db 0"


NASTY = [
    "orders",
    "{",
    "}",
    "{}",
    "}{",
    "{a}b",
    "a}b{c",
    "\xe4}",
    "\ud800",
    "a\nb\0c",
    " ",
    "x" * 99,
]


def test_the_keys_of_a_lock_are_in_one_slot_of_a_cluster() -> None:
    # The server refuses a script whose keys are not.
    with RedisServer(cluster_enabled="yes") as server:
        server.admin.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        until(lambda: server.admin.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        with redis.RedisCluster(host="127.0.0.1", port=server.port) as client:
            backend = RedisBackend(client)
            assert str(backend) == "RedisCluster"
            for name in NASTY:
                server.admin.script_flush()
                assert isinstance(backend.try_acquire(name, "a", 30.0), Grant), name
                assert backend.renew(name, "a", 30.0)
                assert backend.release(name, "a")

        async def main() -> None:
            async with redis.asyncio.RedisCluster(host="127.0.0.1", port=server.port) as client:
                calls = in_tasks(RedisBackend(client))
                for name in NASTY:
                    server.admin.script_flush()
                    assert isinstance(await calls.try_acquire(name, "b", 30.0), Grant), name
                    assert await calls.renew(name, "b", 30.0)
                    assert await calls.release(name, "b")

        asyncio.run(main())


# -- event loops -----------------------------------------------------------------------------------


def test_each_event_loop_has_connections_of_its_own_which_end_with_it(server: RedisServer) -> None:
    with RedisBackend.from_url(server.url()) as backend:
        lock = DistributedLock("orders", backend)
        meeting = threading.Barrier(3)

        async def main() -> None:
            async with lock:
                pass
            await asyncio.to_thread(meeting.wait, PATIENCE)
            await asyncio.to_thread(meeting.wait, PATIENCE)
            async with lock:
                pass

        threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        meeting.wait(PATIENCE)
        assert clients_of(server) == 2
        meeting.wait(PATIENCE)
        for thread in threads:
            thread.join()
        until(lambda: clients_of(server) == 0)
        assert len(in_tasks(backend)._loops) == 2

        async def again() -> None:
            async with lock:
                assert clients_of(server) == 1

        asyncio.run(again())
        until(lambda: clients_of(server) == 0)
        assert len(in_tasks(backend)._loops) == 1  # those of closed loops are forgotten


def test_a_backend_that_is_forgotten_leaves_no_connection(server: RedisServer) -> None:
    # A warning of the garbage collector would fail this test.
    async def main() -> None:
        backend = RedisBackend.from_url(server.url())
        assert isinstance(backend.try_acquire("orders", "a", 30.0), Grant)
        server.admin.script_flush()  # so that the client has had an error too
        assert await in_tasks(backend).release("orders", "a")
        assert clients_of(server) == 2
        del backend
        gc.collect()
        end = time.monotonic() + PATIENCE
        while clients_of(server):
            assert time.monotonic() < end
            await asyncio.sleep(0.001)

    asyncio.run(main())


def test_closing_closes_what_it_has_made_and_the_next_call_connects_anew(
    server: RedisServer,
) -> None:
    async def main() -> None:
        async with RedisBackend.from_url(server.url()) as backend:
            calls = in_tasks(backend)
            for is_async in (True, False):
                backend.release("orders", "a")
                await calls.release("orders", "a")
                assert clients_of(server) == 2
                if is_async:
                    await backend.aclose()
                else:
                    backend.close()
                end = time.monotonic() + PATIENCE
                while clients_of(server):
                    assert time.monotonic() < end
                    await asyncio.sleep(0.001)

    asyncio.run(main())


def test_more_tasks_than_connections_take_turns(server: RedisServer) -> None:
    most = 0

    async def main() -> None:
        nonlocal most
        async with RedisBackend.from_url(f"{server.url()}?max_connections=5") as backend:
            calls = in_tasks(backend)
            asked = [calls.try_acquire(f"order {i}", "a", 30.0) for i in range(300)]
            answers = await asyncio.gather(*asked)
            most = clients_of(server)
        assert all(isinstance(answer, Grant) for answer in answers)

    asyncio.run(main())
    assert most == 5


# -- cancels and interrupts ------------------------------------------------------------------------


def test_a_cancel_anywhere_in_a_call_leaves_no_answer_for_the_next(server: RedisServer) -> None:
    """Cancel after every number of steps of the event loop, on new connections and on old ones."""

    async def main() -> None:
        cancelled = finished = 0
        async with RedisBackend.from_url(server.url()) as backend:
            calls = in_tasks(backend)
            for new in (True, False):
                for steps in range(30):
                    if new:
                        await backend.aclose()
                    name = f"order {steps} {new}"
                    task = asyncio.create_task(calls.try_acquire(name, "a", 30.0))
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    task.cancel()
                    try:
                        await task
                        finished += 1
                    except asyncio.CancelledError:
                        cancelled += 1
                    # Each has an answer of its own: a stray one would be seen.
                    fence = await calls.try_acquire("stock", f"b {name}", 30.0)
                    assert isinstance(fence, Grant)
                    assert not await calls.renew("stock", "another", 30.0)
                    assert await calls.try_acquire("stock", f"b {name}", 30.0) == fence
                    assert await calls.release("stock", f"b {name}")
                    await calls.release(name, "a")
                    assert server.is_free(name)
            assert clients_of(server) == 1
        assert cancelled > 10
        assert finished > 10

    asyncio.run(main())


class Struck(BaseException):
    """What a signal handler raises, as Ctrl-C raises KeyboardInterrupt."""


def struck_at(line: int, act: Callable[[], object], files: str = "redis") -> bool:
    """Raise `Struck` before so many more lines of some files are run; return whether that was."""
    left = line

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if files not in frame.f_code.co_filename or in_finalizer(frame):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Struck
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(Struck):
            act()
    finally:
        sys.settrace(before)
    return left <= 0


def in_finalizer(frame: FrameType | None) -> bool:
    """Return whether a frame is called by a ``__del__``, which lets no exception out."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def test_an_interrupt_anywhere_in_a_call_leaves_no_answer_for_the_next(server: RedisServer) -> None:
    with RedisBackend.from_url(server.url()) as backend:
        backend.release("orders", "connects")
        line, was_struck = 0, True
        while was_struck:
            line += 1
            was_struck = struck_at(line, partial(backend.try_acquire, f"order {line}", "a", 30.0))
            answer = backend.try_acquire("stock", f"b {line}", 30.0)
            assert isinstance(answer, Grant), line
            assert not backend.renew("stock", "another", 30.0)
            assert backend.try_acquire("stock", f"b {line}", 30.0) == answer
            assert backend.release("stock", f"b {line}")
        assert line > 100


def test_an_interrupt_anywhere_in_a_task_leaves_no_answer_for_the_next(server: RedisServer) -> None:
    async def acquired(name: str) -> None:
        await calls.try_acquire(name, "a", 30.0)

    async def checked(token: str) -> None:
        answer = await calls.try_acquire("stock", token, 30.0)
        assert isinstance(answer, Grant), token
        assert not await calls.renew("stock", "another", 30.0), token
        assert await calls.try_acquire("stock", token, 30.0) == answer
        assert await calls.release("stock", token)

    loop = asyncio.new_event_loop()
    with RedisBackend.from_url(server.url()) as backend, closing(loop):
        calls = cast("RedisInTasks", backend.native("asyncio"))
        run = loop.run_until_complete
        run(checked("connects"))
        line, was_struck = 0, True
        while was_struck:
            line += 1
            act = partial(run, acquired(f"order {line}"))
            was_struck = struck_at(line, act, "backofflock/backends/")
            run(checked(f"b {line}"))
        run(calls.aclose())
    assert line > 20
