"""Locks of every kind that another has, and waiters that give up on them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import pytest

from backofflock import AcquireTimeout, DistributedLock, ThreadBackoffLock, ThreadDistributedLock
from backofflock.schedules import Schedule

from ..distributed.hosts import HOSTS, run
from ..distributed.memory import AsyncMemory, Memory, Store

__all__ = ["GiveUp", "on_every_kind"]

GiveUp: TypeAlias = Callable[..., AcquireTimeout]
"""Waits in vain for a lock made with the given arguments."""


def _give_up(
    place: str, host: str, schedule: Schedule, *, retry_after: float = 0.0, **more: Any
) -> AcquireTimeout:
    store = Store()
    store.retry_after = retry_after
    store.give("orders")
    arguments = {"schedule": schedule, "name": "orders", **more}
    with pytest.raises(AcquireTimeout) as caught:
        if host != "threads":
            run(host, lambda: _in_a_task(place, store, arguments))
        elif place == "fleet":
            ThreadDistributedLock(backend=Memory(store), **arguments).acquire()
        else:
            lock = ThreadBackoffLock(**arguments)
            with lock, lock:
                pass
    return caught.value


async def _in_a_task(place: str, store: Store, arguments: dict[str, Any]) -> None:
    if place == "fleet":
        await DistributedLock(backend=AsyncMemory(store), **arguments).acquire()
        return
    lock = ThreadBackoffLock(**arguments)  # it has no owner, so that one task can do it all
    async with lock, lock:
        pass


on_every_kind = pytest.mark.parametrize(
    "give_up",
    [
        pytest.param(partial(_give_up, place, host), id=f"{place}-{host}")
        for place in ("process", "fleet")
        for host in ("threads", *HOSTS)
    ],
)
