"""Risk: an acquire is called off after the server has granted it, and the lock stays taken."""

from __future__ import annotations

import pytest

from backofflock import AcquireTimeout, BackendUnavailable

from ..contract.hosts import ON_ANYIO_ASYNCIO, ON_ANYIO_TRIO, ON_ASYNCIO, ON_TRIO, Host
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

CANCELLING = (ON_ASYNCIO, ON_TRIO, ON_ANYIO_ASYNCIO, ON_ANYIO_TRIO)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*CANCELLING))
@pytest.mark.parametrize("way", ["acquire", "enter"])
def test_cancelled_while_the_reply_is_on_its_way(
    server: Server, proxy: Proxy, host: Host, way: str
) -> None:
    name = new_name("cancelled")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port)) as backend:
            await connected(world, backend)
            lock = lock_in(world, name, backend)

            async def wait(world: World) -> None:
                if way == "acquire":
                    await lock.acquire()
                async with lock:
                    pass
                raise AssertionError("its reply is held")

            proxy.swallow_replies()
            waiter = world.spawn(wait)
            await when_granted(world, proxy, server, name)
            assert not waiter.done
            waiter.cancel()
            await elapsed_until(world, lambda: server.is_free(name), 1.0, "the lock is free")
            await elapsed_until(world, lambda: waiter.done, 1.5, "the waiter has left")
            assert waiter.cancelled, waiter.error
            proxy.let_go()
            # Nothing comes after that takes it again, and the client works as before.
            for _ in range(3):
                lease = await lock.acquire(timeout=5.0)
                assert not server.is_free(name)
                lease.ensure_held()
                await lock.release()
                assert server.is_free(name)
            statistics = lock.statistics()
            assert (statistics.acquired, statistics.cancellations) == (3, 1)
            assert not statistics.locked

    host.run(main)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_timed_out_while_the_reply_is_on_its_way(server: Server, proxy: Proxy, host: Host) -> None:
    name = new_name("timed out")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port), request_timeout=1.0) as backend:
            await connected(world, backend)
            lock = lock_in(world, name, backend)

            async def wait(world: World) -> None:
                await lock.acquire(max_attempts=1)

            proxy.swallow_replies()
            waiter = world.spawn(wait)
            await when_granted(world, proxy, server, name)
            await elapsed_until(world, lambda: waiter.done, 5.0, "it gives up")
            assert isinstance(waiter.error, AcquireTimeout), waiter.error
            assert isinstance(waiter.error.__cause__, BackendUnavailable)
            await elapsed_until(world, lambda: server.is_free(name), 1.0, "the lock is free")
            proxy.let_go()
            async with lock:
                assert not server.is_free(name)
            assert server.is_free(name)

    host.run(main)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*CANCELLING))
def test_cancelled_at_every_moment(server: Server, host: Host) -> None:
    name = new_name("cancelled")

    async def main(world: World) -> None:
        async with client(world, server.url()) as backend:
            lock = lock_in(world, name, backend)

            async def hold(world: World) -> None:
                async with lock:
                    await world.sleep(0.001)

            for i in range(30):
                contender = world.spawn(hold)
                await world.sleep(i * 0.0005)
                if not contender.done:
                    contender.cancel()
                await elapsed_until(world, lambda: contender.done, 1.5, "it has left")  # noqa: B023
                assert contender.error is None
                assert server.is_free(name), i
            assert not lock.statistics().locked

    host.run(main)
