"""Risk: a holder dies or stands still, and nobody ever gets its lock, or two act."""

from __future__ import annotations

import pytest

from backofflock import Lease

from ..contract.hosts import ON_ASYNCIO, Host
from ..contract.worlds import World
from .fleet import HOSTS, SERVERS, by_host, client, elapsed_until, lock_in, new_name
from .processes import Worker
from .servers.base import Server

TTL = 1.5

SLACK = {"file": 1.0, "redis": 1.5, "postgres": 1.5, "etcd": 4.0}
"""Seconds after the end of a grant at which another has the lock: a poll of half a second at the
most, and what the server takes to see the end: etcd looks at its leases each half a second, and
keeps none for less than a time of its own."""

AT_ONCE = 1.0
"""Seconds until another has a lock that is free: a poll, on a machine that does other things."""


def worker(server: Server, name: str, host: Host) -> Worker:
    return Worker(url=server.url(), name=name, host=host.name, ttl=TTL)


@pytest.mark.parametrize("server", ["file", *SERVERS], indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_killed_holder_is_followed(server: Server, host: Host) -> None:
    name = new_name("killed")

    async def main(world: World) -> None:
        async with client(world, server.url()) as backend:
            lock = lock_in(world, name, backend, ttl=TTL)
            leases: list[Lease] = []

            async def follow(world: World) -> None:
                async with lock as lease:
                    leases.append(lease)

            follower = world.spawn(follow)
            await world.sleep(TTL * 1.2)
            assert not leases, "as long as the holder lives it renews"
            holder.kill()
            limit = AT_ONCE if server.name == "file" else TTL + SLACK[server.name]
            await elapsed_until(world, lambda: follower.done, limit, "another has the lock")
            await world.join([follower])
            assert leases[0].fence > held["fence"]

    with worker(server, name, host) as holder:
        held = holder.expect("held")
        host.run(main)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_stopped_holder_does_not_act_when_it_goes_on(server: Server, host: Host) -> None:
    name = new_name("stopped")

    async def main(world: World) -> None:
        async with client(world, server.url()) as backend:
            lock = lock_in(world, name, backend, ttl=TTL)
            holder.stop()
            leases: list[Lease] = []

            async def follow(world: World) -> None:
                leases.append(await lock.acquire())

            follower = world.spawn(follow)
            limit = TTL + SLACK[server.name]
            await elapsed_until(world, lambda: follower.done, limit, "another has the lock")
            await world.join([follower])
            assert leases[0].fence > held["fence"]
            holder.tell("act")
            holder.go_on()
            lost = holder.expect("lost", 10.0)
            assert lost["fence"] == held["fence"]
            holder.end()
            leases[0].ensure_held()
            assert not server.is_free(name), "what the lost one gave back was not this"
            await lock.release()

    with worker(server, name, host) as holder:
        held = holder.expect("held")
        holder.tell("act")
        holder.expect("acted")
        host.run(main)


@pytest.mark.parametrize("server", ["file"], indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_stopped_holder_keeps_a_file(server: Server, host: Host) -> None:
    name = new_name("stopped")
    with worker(server, name, host) as holder:
        holder.expect("held")
        holder.stop()

        async def main(world: World) -> None:
            async with client(world, server.url()) as backend:
                lock = lock_in(world, name, backend, ttl=TTL)
                await world.sleep(TTL * 1.2)
                with pytest.raises(TimeoutError):
                    await lock.acquire(timeout=0)

        ON_ASYNCIO.run(main)
        holder.tell("act")
        holder.go_on()
        holder.expect("acted")
        holder.tell("leave")
        holder.expect("left")
        holder.end()
        assert server.is_free(name)


@pytest.mark.parametrize("server", ["file", *SERVERS], indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_holder_that_leaves_frees_the_lock_at_once(server: Server, host: Host) -> None:
    name = new_name("left")
    with worker(server, name, host) as holder:
        holder.expect("held")
        assert not server.is_free(name)
        holder.tell("leave")
        holder.expect("left")
        assert server.is_free(name)
        holder.end()
