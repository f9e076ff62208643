"""Risk: a lock is taken from its holder, who does not hear of it and goes on."""

from __future__ import annotations

import pytest

from backofflock import Grant, Lease, LeaseLost

from ..contract.hosts import Host
from ..contract.worlds import ThreadWorld, World
from .fleet import HOSTS, SERVERS, by_host, client, elapsed_until, lock_in, new_name
from .proxy import Proxy
from .servers.base import Server

TTL = 3.0
SLACK = 0.5
"""Seconds after which a renewal that was due has been answered and the body cancelled."""


async def work(world: World, lease: Lease) -> None:
    """Work for a minute; in a thread, as long as the lease is held."""
    if isinstance(world, ThreadWorld):
        while not lease.lost.wait(0.05):
            pass
        lease.ensure_held()
    await world.sleep(60.0)


@pytest.mark.parametrize("server", ["file", *SERVERS], indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_stolen_lock_ends_the_body(server: Server, host: Host) -> None:
    name = new_name("stolen")

    async def main(world: World) -> None:
        async with client(world, server.url()) as backend, client(world, server.url()) as thief:
            lock = lock_in(world, name, backend, ttl=TTL)
            leases: list[Lease] = []

            async def hold(world: World) -> None:
                async with lock as lease:
                    leases.append(lease)
                    await work(world, lease)

            holder = world.spawn(hold)
            await world.until(lambda: leases, "the lease")
            server.steal(name)
            grant = thief.try_acquire(name, "the thief's", 60.0)
            assert isinstance(grant, Grant)
            assert grant.fence > leases[0].fence
            limit = TTL / 3 + SLACK
            await elapsed_until(world, lambda: holder.done, limit, "the body was cancelled")
            assert isinstance(holder.error, LeaseLost), holder.error
            assert holder.error.fence == leases[0].fence
            assert lock.statistics().lost == 1
            assert not server.is_free(name), "what the old one gave back was not the thief's"
            assert thief.release(name, "the thief's")
            async with lock:  # it can be acquired again
                pass

    host.run(main)


@pytest.mark.parametrize("server", ["file", *SERVERS], indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_stolen_lock_is_noticed_at_the_release(server: Server, host: Host) -> None:
    name = new_name("stolen")

    async def main(world: World) -> None:
        async with client(world, server.url()) as backend:
            lock = lock_in(world, name, backend)
            with pytest.raises(LeaseLost):
                async with lock:
                    server.steal(name)
            assert not lock.statistics().locked
            async with lock:
                pass

    host.run(main)


@pytest.mark.parametrize("server", ["postgres"], indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_session_that_is_cut_ends_the_body(server: Server, proxy: Proxy, host: Host) -> None:
    name = new_name("cut")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port)) as backend:
            lock = lock_in(world, name, backend, ttl=TTL)
            leases: list[Lease] = []

            async def hold(world: World) -> None:
                async with lock as lease:
                    leases.append(lease)
                    await work(world, lease)

            for _ in range(2):  # what is left of the first is in nobody's way
                holder = world.spawn(hold)
                await world.until(lambda: len(leases) == 1, "the lease")
                proxy.cut()
                limit = TTL / 3 + SLACK
                await elapsed_until(world, lambda: holder.done, limit, "the loss")  # noqa: B023
                assert isinstance(holder.error, LeaseLost), holder.error
                leases.clear()
            for _ in range(3):
                async with lock:
                    assert not server.is_free(name)
                assert server.is_free(name)

    host.run(main)
