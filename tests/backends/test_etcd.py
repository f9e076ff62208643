"""Risk: leases of etcd are left over, end under their holder, or last less than was said.

What all backends promise is in the contract.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from backofflock import AcquireTimeout, Backend, Busy, Constant, DistributedLock, Grant, connect
from backofflock.backends.etcd import EtcdBackend
from backofflock.leases import clock
from backofflock.testing._clients import Client, clients, new_token

from ..contract.hosts import ON_ASYNCIO, ON_TRIO, Host
from ..contract.worlds import World
from .fleet import by_host, new_name
from .servers.base import Server
from .servers.etcd import EtcdServer, base64

LONG = 60.0
PATIENCE = 10.0

IN_TASKS = (ON_ASYNCIO, ON_TRIO)
each_host = pytest.mark.parametrize("kind", ["threads", "asyncio", "trio"])


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> EtcdServer:
    """Return the server that all tests share, without what they have left."""
    server = cast("EtcdServer", server_of("etcd"))
    for lease in server.leases():
        server.ask("lease/revoke", {"ID": str(lease)})
    return server


@pytest.fixture
def backend(server: EtcdServer) -> Iterator[EtcdBackend]:
    with EtcdBackend.from_url(server.url()) as backend:
        yield backend


@pytest.fixture
def name() -> str:
    return new_name("etcd")


@pytest.fixture
def client(server: EtcdServer, kind: str) -> Iterator[Client]:
    """Give the calls of a backend, made in threads or in tasks."""
    with clients(lambda: connect(server.url()), kind, 1) as (client,):
        yield client


def until(condition: Callable[[], object], what: str, limit: float = PATIENCE) -> None:
    """Wait for a condition; AssertionError if it does not come true."""
    latest = clock() + limit
    while not condition():
        assert clock() < latest, f"in vain for {limit} s: {what}"
        time.sleep(0.01)


def granted(answer: Grant | Busy) -> Grant:
    assert isinstance(answer, Grant)
    return answer


def length_of(server: EtcdServer, lease: str) -> int:
    """Return the seconds that a lease was granted for."""
    return int(server.ask("lease/timetolive", {"ID": lease})["grantedTTL"])


def spent(server: EtcdServer, act: Callable[[], object]) -> dict[str, int]:
    """Return the requests that the server has served meanwhile, by kind."""
    before = server.served()
    act()
    after = server.served()
    return {kind: n - before.get(kind, 0) for kind, n in after.items() if n > before.get(kind, 0)}


# -- what is left over -----------------------------------------------------------------------------


@each_host
def test_a_hundred_failed_tries_leave_no_lease(
    server: EtcdServer, client: Client, backend: Backend, name: str
) -> None:
    granted(backend.try_acquire(name, "the holder", LONG))
    (of_holder,) = server.leases()
    waiter = new_token()
    for _ in range(100):
        assert isinstance(client.try_acquire(name, waiter, LONG), Busy)
    assert len(server.leases()) == 2, "a waiter has one lease, however often it tries"
    assert not client.release(name, waiter)
    for _ in range(100):
        waiter = new_token()
        assert isinstance(client.try_acquire(name, waiter, LONG), Busy)
        assert not client.release(name, waiter)
    assert server.leases() == {of_holder}


@pytest.mark.parametrize(**by_host(*IN_TASKS))
def test_waiters_that_are_cancelled_or_time_out_leave_no_lease(
    server: EtcdServer, backend: Backend, name: str, host: Host
) -> None:
    granted(backend.try_acquire(name, "the holder", LONG))
    of_holder = server.leases()

    async def main(world: World) -> None:
        async with EtcdBackend.from_url(server.url()) as backend:
            lock = DistributedLock(name, backend, schedule=Constant(0.01), ttl=LONG)
            for i in range(20):
                with pytest.raises(AcquireTimeout):
                    await lock.acquire(timeout=i * 0.002)

                async def wait(world: World) -> None:
                    await lock.acquire()

                waiter = world.spawn(wait)
                await world.sleep(i * 0.001)
                waiter.cancel()
                await world.until(lambda: waiter.done, "the cancelled waiter ends")  # noqa: B023

    host.run(main)
    assert server.leases() == of_holder


@each_host
def test_all_acquisitions_of_a_process_share_a_lease(
    server: EtcdServer, client: Client, name: str
) -> None:
    def acquire_and_release() -> None:
        token = new_token()
        client.gets(name, token, LONG)
        assert client.release(name, token)

    assert spent(server, acquire_and_release) == {"LeaseGrant": 1, "Txn": 2}
    (lease,) = server.leases()
    for _ in range(20):
        assert spent(server, acquire_and_release) == {"Txn": 2}
    assert server.leases() == {lease}


def test_tokens_at_once_have_leases_of_their_own(
    server: EtcdServer, backend: Backend, name: str
) -> None:
    names = [f"{name} {i}" for i in range(20)]
    for turn in "first", "second":  # when leases are idle
        for each in names:
            granted(backend.try_acquire(each, f"{turn} of {each}", LONG))
        assert len(server.leases()) == 20
        for i, each in enumerate(names):
            assert backend.release(each, f"{turn} of {each}")
            assert not any(server.is_free(held) for held in names[i + 1 :])
    assert len(server.leases()) == 16, "so many are kept"


@each_host
def test_an_idle_lease_is_said_to_last_for_what_is_left_of_it(client: Client, name: str) -> None:
    began = clock()
    for passed in 0.0, 0.5, 1.0:
        token = new_token()
        time.sleep(passed and 0.5)
        grant = client.gets(name, token, LONG)
        assert LONG - (clock() - began) - 0.1 < grant.ttl <= LONG - passed
        assert client.release(name, token)


def test_leases_of_another_length_are_not_used(
    server: EtcdServer, backend: Backend, name: str
) -> None:
    granted(backend.try_acquire(name, "a", 20.0))
    assert backend.release(name, "a")
    granted(backend.try_acquire(name, "b", LONG))
    assert length_of(server, server.key_of(name)["lease"]) == LONG


# -- how long they last ----------------------------------------------------------------------------


@each_host
def test_the_lease_of_a_waiter_outlives_its_ttl(
    server: EtcdServer, client: Client, backend: Backend, name: str
) -> None:
    ttl, waiter = 1.0, new_token()
    granted(backend.try_acquire(name, "the holder", LONG))

    def wait() -> None:
        end = clock() + 3.2 * ttl
        while clock() < end:
            assert isinstance(client.try_acquire(name, waiter, ttl), Busy)
            time.sleep(0.05)

    requests = spent(server, wait)
    assert requests["LeaseGrant"] == 1
    assert 6 <= requests["LeaseKeepAlive"] <= 10, "one in a third of the ttl"
    assert backend.release(name, "the holder")
    time.sleep(0.2)  # the lease has an age
    asked = clock()
    grant = client.gets(name, waiter, ttl)
    assert 0.6 * ttl < grant.ttl <= ttl
    end = asked + grant.ttl
    while clock() < end - 0.01:
        assert isinstance(backend.try_acquire(name, "another", LONG), Busy)
    until(lambda: isinstance(backend.try_acquire(name, "another", LONG), Grant), "its end")


@each_host
def test_a_waiter_that_naps_for_longer_than_its_ttl_gets_another_lease(
    server: EtcdServer, client: Client, backend: Backend, name: str
) -> None:
    waiter = new_token()
    granted(backend.try_acquire(name, "the holder", LONG))
    assert isinstance(client.try_acquire(name, waiter, 1.0), Busy)
    until(lambda: len(server.leases()) == 1, "the waiter's lease ends")
    assert isinstance(client.try_acquire(name, waiter, 1.0), Busy)
    assert backend.release(name, "the holder")
    assert client.gets(name, waiter, 1.0).ttl > 0.6


def test_a_lease_that_somebody_revoked_is_replaced(
    server: EtcdServer, backend: Backend, name: str
) -> None:
    granted(backend.try_acquire(name, "a", LONG))
    assert backend.release(name, "a")
    (idle,) = server.leases()
    server.ask("lease/revoke", {"ID": str(idle)})
    granted(backend.try_acquire(name, "b", LONG))
    assert backend.renew(name, "b", LONG)


def test_ttl_is_rounded_up_to_whole_seconds(
    server: EtcdServer, backend: Backend, name: str
) -> None:
    for i, (asked, whole) in enumerate([(0.2, 1), (1.0, 1), (1.1, 2), (LONG, LONG), (1e15, 9e9)]):
        grant = granted(backend.try_acquire(f"{name} {i}", f"{name} {i}", asked))
        assert length_of(server, server.key_of(f"{name} {i}")["lease"]) == whole
        assert whole - 0.5 < grant.ttl <= whole
        assert backend.renew(f"{name} {i}", f"{name} {i}", asked)


def test_a_longer_minimum_of_the_server_is_told(name: str) -> None:
    # One and a half times the election timeout is the least that it grants.
    with (
        EtcdServer(heartbeat_interval="100", election_timeout="2000") as server,
        EtcdBackend.from_url(server.url()) as backend,
    ):
        asked = clock()
        grant = granted(backend.try_acquire(name, "a", 1.0))
        assert 2.5 < grant.ttl <= 3.0
        until(lambda: server.is_free(name), "the end of the grant")
        assert clock() >= asked + grant.ttl


@each_host
def test_a_renewal_for_longer_than_was_asked_for_keeps_the_fence(
    server: EtcdServer, client: Client, name: str
) -> None:
    token = new_token()
    fence = client.gets(name, token, 1.0).fence
    assert client.renew(name, token, LONG)
    lease = server.key_of(name)["lease"]
    assert length_of(server, lease) == LONG
    assert client.gets(name, token, LONG).fence == fence
    assert client.release(name, token)
    assert server.leases() == {int(lease)}, "and the short one is revoked"


# -- who else writes to the key --------------------------------------------------------------------


def put(server: EtcdServer, name: str, **what: Any) -> None:
    server.ask("kv/put", {"key": base64(f"backofflock/{name}"), **what})


def revoke(server: EtcdServer, name: str) -> None:
    server.ask("lease/revoke", {"ID": server.key_of(name)["lease"]})


@each_host
@pytest.mark.parametrize(
    "thief",
    [
        EtcdServer.steal,
        revoke,
        lambda server, name: put(server, name, value=base64("of another")),
    ],
    ids=["deleted", "revoked", "overwritten"],
)
def test_a_stolen_key_is_noticed(
    server: EtcdServer, client: Client, name: str, thief: Callable[[EtcdServer, str], None]
) -> None:
    client.gets(name, token := new_token(), LONG)
    thief(server, name)
    assert not client.renew(name, token, LONG)
    client.gets(other := new_name("etcd"), token, LONG)
    thief(server, other)
    found = server.key_of(other)
    assert not client.release(other, token)
    assert server.key_of(other) == found, "what is another's is left alone"


@each_host
def test_a_key_that_somebody_keeps_for_ever_is_not_held(
    server: EtcdServer, client: Client, name: str
) -> None:
    client.gets(name, token := new_token(), LONG)
    put(server, name, value=base64(token))  # and without a lease
    assert not client.renew(name, token, LONG)
    assert not client.release(name, token)
    assert server.is_free(name), "or it would be taken for ever"


def test_compaction_changes_nothing(server: EtcdServer, backend: Backend, name: str) -> None:
    fence = granted(backend.try_acquire(name, "a", LONG)).fence
    for _ in range(10):
        answer = server.ask("kv/put", {"key": base64("something else"), "value": base64("x")})
    server.ask("kv/compaction", {"revision": answer["header"]["revision"], "physical": True})
    server.ask("maintenance/defragment", {})
    assert backend.renew(name, "a", LONG)
    assert granted(backend.try_acquire(name, "a", LONG)).fence == fence
    assert backend.release(name, "a")
    assert granted(backend.try_acquire(name, "b", LONG)).fence > fence


def test_the_fence_is_the_revision_and_grows_across_a_restart(name: str) -> None:
    with EtcdServer() as server, EtcdBackend.from_url(server.url()) as backend:
        first = granted(backend.try_acquire(name, "a", LONG)).fence
        assert first == int(server.key_of(name)["create_revision"])
        server.stop()
        server.start()
        assert granted(backend.try_acquire(name, "a", LONG)).fence == first
        assert backend.renew(name, "a", LONG)
        assert backend.release(name, "a")
        assert granted(backend.try_acquire(name, "b", LONG)).fence > first


def test_releases_at_once_do_not_revoke_a_lease_that_is_in_use_again(
    server: EtcdServer, backend: Backend, name: str
) -> None:
    for i in range(50):
        token, threads = f"{name} {i}", []
        granted(backend.try_acquire(name, token, LONG))
        for _ in range(3):
            thread = threading.Thread(target=backend.release, args=(name, token))
            threads.append(thread)
            thread.start()
        until(lambda: server.is_free(name), "the release")
        granted(backend.try_acquire(name, f"{token} next", LONG))
        for thread in threads:
            thread.join()
        assert backend.renew(name, f"{token} next", LONG)
        assert backend.release(name, f"{token} next")


def test_another_process_may_go_on_with_a_token(
    server: EtcdServer, backend: Backend, name: str
) -> None:
    fence = granted(backend.try_acquire(name, "a", 10.0)).fence
    time.sleep(0.5)
    with EtcdBackend.from_url(server.url()) as other:
        grant = granted(other.try_acquire(name, "a", LONG))
        assert grant.fence == fence
        assert 9.5 < grant.ttl <= 10.0, "it is prolonged, and no longer than it was made"
        assert other.renew(name, "a", 10.0)
        assert other.release(name, "a")
    assert server.is_free(name)
    assert server.leases() == set()
