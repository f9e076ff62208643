"""Risk: a server that hangs makes an event loop stand still."""

from __future__ import annotations

from time import monotonic

import pytest

from backofflock import AcquireTimeout, Lease, LeaseLost

from ..contract.hosts import ON_ASYNCIO, ON_TRIO, ON_UVLOOP, Host
from ..contract.worlds import World
from .fleet import SERVERS, by_host, client, connected, elapsed_until, lock_in, new_name
from .proxy import Proxy
from .servers.base import Server

LOOPS = (ON_ASYNCIO, ON_UVLOOP, ON_TRIO)

GAP = 0.5
"""Seconds that no tick may be late. Requests wait for 5 s, so who waits for one shows."""


class Ticker:
    """A task that is to run all the time."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.ticks = 0
        self.over = False

    async def __call__(self, world: World) -> None:
        last = monotonic()
        while not self.over:
            await world.sleep(0.005)
            now = monotonic()
            self.longest = max(self.longest, now - last)
            self.ticks += 1
            last = now

    __name__ = "ticker"


@pytest.mark.parametrize("server", SERVERS, indirect=True)
@pytest.mark.parametrize(**by_host(*LOOPS))
def test_no_loop_is_delayed_while_a_server_hangs(server: Server, proxy: Proxy, host: Host) -> None:
    if host.missing is not None:
        pytest.skip(host.missing)
    name = new_name("hangs")

    async def main(world: World) -> None:
        ticker = Ticker()
        async with (
            client(world, server.url(proxy.port)) as known,
            client(world, server.url(proxy.port)) as new,
        ):
            await connected(world, known)
            held, waited = lock_in(world, name, known, ttl=2.0), lock_in(world, name, new)
            leases: list[Lease] = []

            async def hold(world: World) -> None:
                async with held as lease:
                    leases.append(lease)
                    await world.sleep(60.0)

            async def wait(world: World) -> None:
                await waited.acquire(timeout=1.0)

            ticking = world.spawn(ticker)
            holder = world.spawn(hold)
            await world.until(lambda: leases, "the lease")
            proxy.swallow_all()
            waiter = world.spawn(wait)
            await elapsed_until(world, lambda: holder.done and waiter.done, 10.0, "both give up")
            assert isinstance(holder.error, LeaseLost), holder.error
            assert isinstance(waiter.error, AcquireTimeout), waiter.error
        ticker.over = True  # after the clients were closed, while the server still hangs
        await world.join([ticking])
        assert ticker.ticks > 100
        assert ticker.longest < GAP, f"the loop stood still for {ticker.longest:.3f} s"

    host.run(main)
