"""Risk: an answer comes when what it grants is over already."""

from __future__ import annotations

import pytest

from backofflock import AcquireTimeout

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

TTL = 1.0
LATE = 1.5

FREE = {"redis": 1.5, "postgres": 1.5, "etcd": 5.0}
"""Seconds after which the lock is free: the ttl, if the release is on its way as long, and what the
server takes to see its end."""


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_grant_later_than_its_end_is_no_lease(server: Server, proxy: Proxy, host: Host) -> None:
    name = new_name("late")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port), request_timeout=10.0) as backend:
            await connected(world, backend)
            lock = lock_in(world, name, backend, ttl=TTL, request_timeout=10.0)

            async def wait(world: World) -> None:
                await lock.acquire(max_attempts=1)

            proxy.swallow_replies()
            waiter = world.spawn(wait)
            await when_granted(world, proxy, server, name)
            await world.sleep(LATE)
            proxy.let_go()  # a thread gets its answer now, a task has not waited for it
            await elapsed_until(world, lambda: waiter.done, 1.0, "it gives up")
            assert isinstance(waiter.error, AcquireTimeout), waiter.error
            limit = FREE[server.name]
            await elapsed_until(world, lambda: server.is_free(name), limit, "the lock is free")
            async with lock:
                pass
            assert lock.statistics().acquired == 1

    host.run(main)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_server_slower_than_the_ttl_gives_no_lease(
    server: Server, proxy: Proxy, host: Host
) -> None:
    name = new_name("slow")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port), request_timeout=10.0) as backend:
            await connected(world, backend)
            lock = lock_in(world, name, backend, ttl=TTL, request_timeout=10.0)
            proxy.delay(LATE * 2 if server.name == "etcd" else LATE)  # its shortest is 2 s
            with pytest.raises(AcquireTimeout):
                await lock.acquire(timeout=LATE)
            limit = FREE[server.name]
            await elapsed_until(world, lambda: server.is_free(name), limit, "the lock is free")
            proxy.let_go()
            async with lock:
                pass
            assert lock.statistics().acquired == 1

    host.run(main)
