"""Risk: the server is away, and a holder goes on without its lock, or a waiter never gets it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from backofflock import AcquireTimeout, BackendUnavailable, Lease, LeaseLost, WaitDetails
from backofflock.leases import clock

from ..contract.hosts import Host
from ..contract.worlds import World
from .fleet import HOSTS, SERVERS, by_host, client, connected, elapsed_until, lock_in, new_name
from .proxy import Proxy
from .servers.base import Server
from .test_scenarios_loss import work

TTL = 2.0
SLACK = 0.3
"""Seconds after the deadline by which the body was cancelled, if the machine has other work."""

RETURN = {"redis": 3.0, "postgres": 3.0, "etcd": 6.0}
"""Seconds after which a server that is back gives a lock to one who waits: a poll of half a second,
a request that hangs from before, and the end of a grant that was kept."""


class Outage:
    """A server that can be made to go away, in one of two ways."""

    def __init__(self, kind: str, server: Server, proxy: Proxy) -> None:
        self.kind = kind
        self.server = server
        self.proxy = proxy

    async def begin(self, world: World) -> None:
        if self.kind == "unreachable":
            self.proxy.swallow_all()
        else:
            await in_thread(world, self.server.stop)

    async def end(self, world: World) -> None:
        if self.kind == "unreachable":
            self.proxy.cut()
            self.proxy.let_go()
        else:
            await in_thread(world, self.server.start)


async def in_thread(world: World, act: Callable[[], None]) -> None:
    """Do what takes its time without holding up the event loop of the locks."""
    thread = threading.Thread(target=act)
    thread.start()
    await world.until(lambda: not thread.is_alive(), act.__name__)


@pytest.fixture(params=["unreachable", "stopped"])
def outage(request: pytest.FixtureRequest, server: Server, proxy: Proxy) -> Iterator[Outage]:
    yield Outage(request.param, server, proxy)
    if request.param == "stopped":
        with suppress(Exception):
            server.is_free("whether it runs")
            return
        server.start()


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_holder_hears_of_it_in_time(
    server: Server, proxy: Proxy, outage: Outage, host: Host
) -> None:
    name = new_name("held")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port), request_timeout=1.0) as backend:
            lock = lock_in(world, name, backend, ttl=TTL)
            leases: list[Lease] = []
            ended: list[float] = []

            async def hold(world: World) -> None:
                async with lock as lease:
                    leases.append(lease)
                    try:
                        await work(world, lease)
                    finally:
                        ended.append(clock())

            holder = world.spawn(hold)
            await world.until(lambda: leases, "the lease")
            await world.sleep(TTL / 2)  # a renewal has gone well
            await outage.begin(world)
            await world.until(lambda: ended, "the end of the body")
            assert ended[0] <= leases[0].lost.deadline + SLACK
            await elapsed_until(world, lambda: holder.done, 3.0, "it has tried to give it back")
            assert isinstance(holder.error, LeaseLost), holder.error
            await outage.end(world)
            again = await lock.acquire(timeout=RETURN[server.name])
            assert again.fence > leases[0].fence
            await lock.release()

    host.run(main)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_waiter_gets_through_when_it_returns(
    server: Server, proxy: Proxy, outage: Outage, host: Host
) -> None:
    name = new_name("waiting")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port), request_timeout=0.5) as backend:
            await connected(world, backend)
            waits: list[WaitDetails] = []
            lock = lock_in(world, name, backend, ttl=TTL, request_timeout=0.5, on_wait=waits.append)

            async def wait(world: World) -> None:
                async with lock:
                    pass

            await outage.begin(world)
            waiter = world.spawn(wait)
            await world.until(lambda: len(waits) >= 3, "three tries")
            assert not waiter.done
            await outage.end(world)
            limit = RETURN[server.name]
            await elapsed_until(world, lambda: waiter.done, limit, "the waiter gets through")
            await world.join([waiter])
            assert lock.statistics().unanswered >= 3

    host.run(main)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
@pytest.mark.parametrize("before", ["connected", "new"])
def test_waiter_gives_up_in_time_and_says_why(
    server: Server, proxy: Proxy, outage: Outage, host: Host, before: str
) -> None:
    name = new_name("waiting")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port), request_timeout=1.0) as backend:
            if before == "connected":
                await connected(world, backend)
            lock = lock_in(world, name, backend, ttl=TTL, timeout=1.0)
            await outage.begin(world)
            began = clock()
            with pytest.raises(AcquireTimeout) as caught:
                await lock.acquire()
            # The last request may take a second, and so may giving back what it perhaps got.
            assert clock() - began < 1.0 + 1.0 + 1.0 + SLACK
            assert isinstance(caught.value.__cause__, BackendUnavailable)
            assert lock.statistics().timeouts == 1
            await outage.end(world)
            limit = RETURN[server.name]
            await elapsed_until(world, lambda: server.is_free(name), limit, "nothing is held")

    host.run(main)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_waiters_behind_the_one_that_asks_say_why_too(
    server: Server, proxy: Proxy, outage: Outage, host: Host
) -> None:
    name = new_name("waiting")

    async def main(world: World) -> None:
        async with client(world, server.url(proxy.port), request_timeout=0.5) as backend:
            await connected(world, backend)
            waits: list[WaitDetails] = []
            asking = lock_in(world, name, backend, request_timeout=0.5, on_wait=waits.append)
            lock, causes = lock_in(world, name, backend, timeout=0.2), list[object]()
            held: list[Lease] = []

            async def ask(world: World) -> None:
                async with asking as lease:
                    held.append(lease)
                    await world.until(lambda: len(causes) == 3, "one that waits for the holder")

            async def give_up(world: World) -> None:
                with pytest.raises(AcquireTimeout) as caught:
                    await lock.acquire()
                causes.append(caught.value.__cause__)

            await outage.begin(world)
            asker = world.spawn(ask)
            await world.until(lambda: waits, "a try that was not answered")
            await world.join([world.spawn(give_up) for _ in range(2)])
            assert all(isinstance(cause, BackendUnavailable) for cause in causes), causes
            assert lock.statistics().attempts == 0, "only one of a process asks"
            await outage.end(world)
            await elapsed_until(world, lambda: held, RETURN[server.name], "it gets through")
            await world.join([world.spawn(give_up)])
            assert causes[2] is None, "the lock is taken, and the backend is there"
            await world.join([asker])

    host.run(main)
