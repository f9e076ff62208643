"""What is particular to Redis: its keys, its clock, its scripts. What all backends promise is in
the contract."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest
import redis
import redis.asyncio

from backofflock import (
    BackendRefused,
    BackendUnavailable,
    Busy,
    DistributedLock,
    Grant,
    ThreadDistributedLock,
)
from backofflock.backends import _redis_scripts as scripts
from backofflock.backends._redis_scripts import BLOCK
from backofflock.backends.redis import RedisBackend
from backofflock.testing.contract import NAMES

from .servers.base import Server
from .servers.redis import RedisServer

LOCK = "{backofflock:orders}"
DAY = 86_400_000


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> RedisServer:
    """Return the server that all tests share, emptied."""
    server = cast("RedisServer", server_of("redis"))
    server.admin.flushall()
    return server


@pytest.fixture
def backend(server: RedisServer) -> Iterator[RedisBackend]:
    with RedisBackend.from_url(server.url()) as backend:
        yield backend


def granted(answer: Grant | Busy) -> int:
    """Return the fence of a grant."""
    assert isinstance(answer, Grant)
    return answer.fence


# -- fences ----------------------------------------------------------------------------------------


def test_the_fence_grows_across_flushall_and_restart() -> None:
    # A counter alone would begin again at 1.
    with RedisServer() as server, RedisBackend.from_url(server.url()) as backend:
        fences = [granted(backend.try_acquire("orders", "a", 30.0))]
        server.admin.flushall()
        fences.append(granted(backend.try_acquire("orders", "b", 30.0)))
        server.stop()
        server.start()  # without persistence it has forgotten everything
        assert server.all_keys() == []
        with pytest.raises(BackendUnavailable):  # over the connection that it was about to use
            backend.try_acquire("stock", "a", 30.0)
        fences.append(granted(backend.try_acquire("orders", "c", 30.0)))
    assert fences == sorted(set(fences))


def test_the_fence_grows_when_the_clock_of_the_server_is_set_back(
    server: RedisServer, backend: RedisBackend
) -> None:
    # What a clock that was an hour ahead has left behind.
    ahead = int((time.time() + 3600) * 1e6)
    server.admin.set(LOCK + ":last", ahead)
    assert granted(backend.try_acquire("orders", "a", 30.0)) == ahead + 1
    assert backend.release("orders", "a")
    assert granted(backend.try_acquire("orders", "b", 30.0)) == ahead + 1 + BLOCK


def test_the_fence_has_all_its_digits(server: RedisServer, backend: RedisBackend) -> None:
    # Numbers of Lua are doubles, and it prints 14 digits of them.
    last = 2**53 - 2
    fence = last - BLOCK + 1
    server.admin.set(LOCK + ":last", fence - 1)
    assert backend.try_acquire("orders", "a", 30.0) == Grant(fence, 30.0, last)
    assert backend.try_acquire("orders", "a", 30.0) == Grant(fence, 30.0, last)
    assert server.admin.get(LOCK) == b"a"
    assert server.admin.get(LOCK + ":last") == str(last).encode()


def test_fences_do_not_run_ahead_of_the_clock(server: RedisServer, backend: RedisBackend) -> None:
    # Each grant takes 32 of them, and the clock moves on by more until the next can be had.
    for number in range(2000):
        token = str(number)
        assert granted(backend.try_acquire("orders", token, 30.0))
        assert backend.release("orders", token)
    seconds, micros = server.admin.time()
    assert int(server.admin.get(LOCK + ":last")) <= seconds * 1_000_000 + micros


# -- requests that are sent again, or come late ----------------------------------------------------


def test_asking_again_gets_the_same_grant_for_the_whole_ttl(
    server: RedisServer, backend: RedisBackend
) -> None:
    fence = granted(backend.try_acquire("orders", "a", 30.0))
    server.admin.pexpire(LOCK, 5_000)
    assert granted(backend.try_acquire("orders", "a", 30.0)) == fence
    assert 25_000 < server.admin.pttl(LOCK) <= 30_000


def test_a_holder_whose_fence_was_evicted_gets_a_larger_one_if_it_asks_again(
    server: RedisServer, backend: RedisBackend
) -> None:
    fence = granted(backend.try_acquire("orders", "a", 30.0))
    server.admin.delete(LOCK + ":last")
    larger = granted(backend.try_acquire("orders", "a", 30.0))
    assert larger > fence
    assert backend.release("orders", "a")
    assert granted(backend.try_acquire("orders", "b", 30.0)) == larger + BLOCK


def test_a_released_token_is_refused_whoever_had_the_lock_meanwhile(
    server: RedisServer, backend: RedisBackend
) -> None:
    granted(backend.try_acquire("orders", "a", 30.0))
    assert backend.release("orders", "a")
    for token in "bcd":
        granted(backend.try_acquire("orders", token, 30.0))
        assert backend.release("orders", token)
    assert isinstance(backend.try_acquire("orders", "a", 30.0), Busy)
    assert not server.admin.exists(LOCK)


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_clients_that_may_send_again_by_themselves_are_not_trusted(
    server: RedisServer, kind: str
) -> None:
    async def main() -> None:
        async with redis.asyncio.Redis.from_url(server.url()) as client:
            calls = RedisBackend(client).native("asyncio")
            assert calls is not None
            assert isinstance(await calls.try_acquire("orders", "a", 30.0), Grant)
            assert await calls.release("orders", "a")

    if kind == "asyncio":
        asyncio.run(main())
    else:
        with redis.Redis.from_url(server.url()) as client:
            granted(RedisBackend(client).try_acquire("orders", "a", 30.0))
            assert RedisBackend(client).release("orders", "a")
    assert server.admin.exists(LOCK + ":a:gone")


def test_a_release_sent_again_takes_nothing(server: RedisServer, backend: RedisBackend) -> None:
    granted(backend.try_acquire("orders", "a", 30.0))
    assert backend.release("orders", "a")
    granted(backend.try_acquire("orders", "b", 30.0))
    assert not backend.release("orders", "a")
    assert not backend.release("orders", "c")
    assert not backend.release("orders", "c")
    assert backend.renew("orders", "b", 30.0)


# -- time ------------------------------------------------------------------------------------------


def test_a_grant_that_expires_goes_to_another_with_a_larger_fence(backend: RedisBackend) -> None:
    asked = time.monotonic()
    fence = granted(backend.try_acquire("orders", "a", 0.2))
    while isinstance(answer := backend.try_acquire("orders", "b", 30.0), Busy):
        assert time.monotonic() < asked + 10
    assert time.monotonic() >= asked + 0.2
    assert granted(answer) > fence
    assert not backend.renew("orders", "a", 30.0)
    assert not backend.release("orders", "a")


@pytest.mark.parametrize(("ttl", "milliseconds"), [(0.0001, 1), (30.0004, 30_001), (1e300, 10**15)])
def test_every_ttl_is_one_that_the_server_takes(
    server: RedisServer, backend: RedisBackend, ttl: float, milliseconds: int
) -> None:
    # Rounded up: were it rounded down, the server would be the first to see it end.
    assert scripts.for_seconds(ttl, "test:", "orders", "a")[5] == milliseconds
    granted(backend.try_acquire("orders", "a", ttl))
    assert server.admin.pttl(LOCK) <= milliseconds


def test_everything_expires(server: RedisServer, backend: RedisBackend) -> None:
    granted(backend.try_acquire("orders", "a", 30.0))
    assert backend.try_acquire("orders", "b", 30.0) == Busy()
    assert backend.renew("orders", "a", 40.0)
    assert not backend.release("orders", "b")
    granted(backend.try_acquire("stock", "c", 30.0))
    assert backend.release("stock", "c")
    left = {key.decode(): server.admin.pttl(key) for key in server.all_keys()}
    bounds = {
        LOCK: 40_000,
        LOCK + ":last": DAY + 40_000,  # longer than the grant, however long it is renewed
        "{backofflock:stock}:last": DAY + 30_000,
    }
    assert left.keys() == bounds.keys()
    assert all(bounds[key] - 10_000 < left[key] <= bounds[key] for key in left), left


def test_many_names_leave_nothing(
    server: RedisServer, backend: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "KEPT", 100)
    monkeypatch.setattr(scripts, "REMEMBERED", 100)
    for i in range(300):
        granted(backend.try_acquire(f"order {i}", f"a {i}", 0.1))
        assert isinstance(backend.try_acquire(f"order {i}", f"b {i}", 0.1), Busy)
        if i % 2:
            backend.release(f"order {i}", f"a {i}")
        backend.release(f"order {i}", f"b {i}")
    until = time.monotonic() + 20
    while server.admin.dbsize():
        assert time.monotonic() < until, server.all_keys()


# -- scripts and requests --------------------------------------------------------------------------


def test_scripts_that_the_server_has_forgotten_are_sent_again(
    server: RedisServer, backend: RedisBackend
) -> None:
    for _ in range(2):
        server.admin.script_flush()
        granted(backend.try_acquire("orders", "a", 30.0))
        server.admin.script_flush()
        assert backend.renew("orders", "a", 30.0)
    server.admin.script_flush()
    assert backend.release("orders", "a")


def test_scripts_that_the_server_has_forgotten_are_sent_again_by_tasks(
    server: RedisServer, backend: RedisBackend
) -> None:
    async def main() -> None:
        calls = backend.native("asyncio")
        assert calls is not None
        server.admin.script_flush()
        granted(await calls.try_acquire("orders", "a", 30.0))
        server.admin.script_flush()
        assert await calls.renew("orders", "a", 30.0)
        server.admin.script_flush()
        assert await calls.release("orders", "a")

    asyncio.run(main())


def served(server: RedisServer) -> tuple[int, int]:
    """Return how many scripts the server has run, and how often it has read from a client."""
    reads: int = server.admin.info("stats")["total_reads_processed"]
    return server.commands(), reads


OWN_READS = 2
"""Of `served`, between the numbers that it returns first and next."""


def test_an_acquisition_takes_two_requests(server: RedisServer, backend: RedisBackend) -> None:
    lock = ThreadDistributedLock("orders", backend)
    with lock:
        pass  # connects, and sends the scripts in full
    before = served(server)
    for _ in range(100):
        with lock:
            pass
    scripts, reads = (now - then for now, then in zip(served(server), before, strict=True))
    assert scripts == 200
    assert reads - OWN_READS == 200


def test_an_acquisition_of_a_task_takes_two_requests(
    server: RedisServer, backend: RedisBackend
) -> None:
    async def main() -> tuple[int, int]:
        lock = DistributedLock("orders", backend)
        async with lock:
            pass
        before = served(server)
        for _ in range(100):
            async with lock:
                pass
        scripts, reads = (now - then for now, then in zip(served(server), before, strict=True))
        return scripts, reads - OWN_READS

    assert asyncio.run(main()) == (200, 200)


# -- keys ------------------------------------------------------------------------------------------


def test_no_two_locks_share_a_key() -> None:
    names = (*NAMES, "{", "}", "{}", "}{", "\ud800", "\udfff")
    keys = [
        key for name in names for key in scripts.to_end("backofflock:", name, "token", True)[1:4]
    ]
    assert len(set(keys)) == len(keys)


def test_a_key_of_another_kind_is_left_alone(server: RedisServer, backend: RedisBackend) -> None:
    server.admin.lpush(LOCK, "somebody's")
    for call in (
        lambda: backend.try_acquire("orders", "a", 30.0),
        lambda: backend.renew("orders", "a", 30.0),
        lambda: backend.release("orders", "a"),
    ):
        with pytest.raises(BackendRefused, match="refused .*: WRONGTYPE"):
            call()
    assert server.admin.lrange(LOCK, 0, -1) == [b"somebody's"]


@pytest.mark.parametrize("value", ["", "A", "7", "a ", " a", "7 a", "a\n"])
def test_a_value_that_is_no_grant_of_ours_is_somebody_elses(
    server: RedisServer, backend: RedisBackend, value: str
) -> None:
    server.admin.set(LOCK, value)
    assert backend.try_acquire("orders", "a", 30.0) == Busy()
    assert not backend.renew("orders", "a", 30.0)
    assert not backend.release("orders", "a")
    assert server.admin.get(LOCK) == value.encode()
    assert server.admin.pttl(LOCK) == -1


def test_the_prefix_keeps_applications_apart(server: RedisServer) -> None:
    with (
        RedisBackend.from_url(server.url(), prefix="shop:") as shop,
        RedisBackend.from_url(server.url(), prefix="mail:") as mail,
    ):
        granted(shop.try_acquire("orders", "a", 30.0))
        granted(mail.try_acquire("orders", "b", 30.0))
    assert b"{shop:orders}" in server.all_keys()


@pytest.mark.parametrize("prefix", ["", "a{b", "a}b", 7])
def test_a_prefix_that_would_scatter_the_keys_is_refused(prefix: str) -> None:
    # With an empty prefix, the keys of lock "}" would be in three slots of a cluster.
    with pytest.raises(ValueError, match="prefix must be a str, not empty and without braces"):
        RedisBackend.from_url("redis://localhost", prefix=prefix)
