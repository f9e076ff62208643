"""Risk: a lock is lost, or held twice, when members of a cluster die."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from backofflock import LeaseLost
from backofflock.backends.etcd import EtcdBackend

from ..contract.hosts import Host
from ..contract.worlds import World
from .fleet import HOSTS, by_host, elapsed_until, lock_in, new_name
from .servers.etcd import EtcdServer


@pytest.fixture
def members() -> Iterator[list[EtcdServer]]:
    """Return three members of a cluster, the leader first."""
    names = {f"member{i}": EtcdServer() for i in range(3)}
    for name, member in names.items():
        member.join(name, names)
    members = list(names.values())
    with ExitStack() as stack:
        for member in members:
            stack.callback(member.close)
        with ThreadPoolExecutor() as threads:
            list(threads.map(EtcdServer.start, members))
        yield sorted(members, key=is_leader, reverse=True)


def is_leader(member: EtcdServer) -> bool:
    answer = member.ask("maintenance/status", {})
    return bool(answer["header"]["member_id"] == answer["leader"])


@pytest.mark.parametrize(**by_host(*HOSTS))
def test_a_lock_outlives_the_leader_and_ends_with_the_majority(
    members: list[EtcdServer], host: Host
) -> None:
    name, ttl = new_name("cluster"), 3.0
    urls = [member.address for member in members]

    async def main(world: World) -> None:
        with (
            EtcdBackend(*urls, request_timeout=1.0) as backend,
            EtcdBackend(*urls[1:], request_timeout=1.0) as other,
        ):
            async with lock_in(world, name, backend, ttl=ttl) as lease:
                members[0].stop()
                await world.sleep(2 * ttl)
                lease.ensure_held()
            after = lock_in(world, name, other, ttl=ttl)
            with pytest.raises(LeaseLost):
                async with after as following:
                    assert following.fence > lease.fence
                    members[1].stop()
                    await elapsed_until(world, following.lost.is_set, ttl + 0.5, "the loss")
                    following.ensure_held()

    host.run(main)
