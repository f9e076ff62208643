"""Risk: an answer is lost, the request is sent again, and the holder is in its own way."""

from __future__ import annotations

import pytest

from backofflock import Busy, Grant, Lease, WaitDetails

from ..contract.hosts import Host
from ..contract.worlds import World
from .fleet import (
    HOSTS,
    SERVERS,
    by_host,
    client,
    connected,
    elapsed_until,
    lock_in,
    new_name,
    when_granted,
)
from .proxy import Proxy
from .servers.base import Server

ONE_RETRY = 1.0
"""Seconds that a retry may take: its delay is 10 ms, and a connection has to be made."""

WITHOUT_SESSIONS = ("redis", "etcd")
"""Where a lock outlives the connection by which it was acquired."""


@pytest.mark.parametrize("server", WITHOUT_SESSIONS, indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
@pytest.mark.parametrize("lost", ["cut", "silent"])
def test_holder_is_never_told_taken(server: Server, proxy: Proxy, host: Host, lost: str) -> None:
    name = new_name("resent")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port), request_timeout=1.0) as backend:
            await connected(world, backend)
            waits: list[WaitDetails] = []
            lock = lock_in(world, name, backend, on_wait=waits.append)
            leases: list[Lease] = []

            async def hold(world: World) -> None:
                leases.append(await lock.acquire())

            proxy.swallow_replies()
            holder = world.spawn(hold)
            await when_granted(world, proxy, server, name)
            if lost == "cut":
                proxy.cut()
            limit = ONE_RETRY + (1.0 if lost == "silent" else 0.0)
            await elapsed_until(world, lambda: holder.done, limit, "it has the lock")
            await world.join([holder])
            assert len(waits) == 1, "its second request must be granted"
            # It has what it was granted then, and not something new.
            (lease,) = leases
            grant = await grant_of(world, server, name, lease.token)
            assert isinstance(grant, Grant)
            assert grant.fence == lease.fence
            proxy.let_go()
            await lock.release()
            assert server.is_free(name)
            statistics = lock.statistics()
            assert (statistics.attempts, statistics.unanswered, statistics.lost) == (2, 1, 0)

    host.run(main)


async def grant_of(world: World, server: Server, name: str, token: str) -> Grant | Busy:
    """Ask the server, past the proxy, what a token has."""
    async with client(world, server.url()) as backend:
        return backend.try_acquire(name, token, 30.0)  # blocks, but briefly


@pytest.mark.parametrize("server", ["postgres"], indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_session_that_was_cut_is_not_in_the_way(server: Server, proxy: Proxy, host: Host) -> None:
    name = new_name("resent")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port), request_timeout=1.0) as backend:
            await connected(world, backend)
            lock = lock_in(world, name, backend)
            leases: list[Lease] = []

            async def hold(world: World) -> None:
                leases.append(await lock.acquire())

            proxy.swallow_replies()
            holder = world.spawn(hold)
            await when_granted(world, proxy, server, name)
            proxy.cut()
            await elapsed_until(world, lambda: holder.done, ONE_RETRY, "it has the lock")
            await world.join([holder])
            assert not server.is_free(name)
            proxy.let_go()
            await lock.release()
            assert server.is_free(name)

    host.run(main)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
@pytest.mark.parametrize("lost", ["cut", "silent"])
def test_release_is_resent(server: Server, proxy: Proxy, host: Host, lost: str) -> None:
    name = new_name("released")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port), request_timeout=1.0) as backend:
            await connected(world, backend)
            lock = lock_in(world, name, backend)
            inside = leave = False

            async def hold(world: World) -> None:
                nonlocal inside
                async with lock:
                    inside = True
                    await world.until(lambda: leave, "the order to leave")

            holder = world.spawn(hold)
            await world.until(lambda: inside, "the grant")  # and its reply, on this side
            proxy.swallow_replies(of_new=False)
            leave = True
            await world.until(lambda: server.is_free(name), "the release")
            await world.until(lambda: proxy.replies_held, "its reply")
            assert not holder.done
            if lost == "cut":
                proxy.cut()
            limit = ONE_RETRY + (1.0 if lost == "silent" else 0.0)
            await elapsed_until(world, lambda: holder.done, limit, "it has left")
            await world.join([holder])  # without an error
            proxy.let_go()
            assert lock.statistics().lost == 0
            async with lock:
                pass

    host.run(main)


@pytest.mark.parametrize("server", WITHOUT_SESSIONS, indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
@pytest.mark.parametrize("lost", ["cut", "silent"])
def test_renewal_is_resent(server: Server, proxy: Proxy, host: Host, lost: str) -> None:
    name, ttl = new_name("renewed"), 3.0

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port), request_timeout=0.5) as backend:
            await connected(world, backend)
            lock = lock_in(world, name, backend, ttl=ttl, request_timeout=0.5)
            async with lock as lease:
                deadline = lease.lost.deadline
                proxy.swallow_replies(of_new=False)
                await world.until(lambda: proxy.replies_held, "the answer to a renewal")
                if lost == "cut":
                    proxy.cut()
                await world.until(lambda: lease.lost.deadline > deadline, "another renewal")
                await world.sleep(deadline + 0.5 - (lease.lost.deadline - lease.remaining()))
                lease.ensure_held()
                assert not server.is_free(name)
                proxy.let_go()
            assert server.is_free(name)

    host.run(main)
