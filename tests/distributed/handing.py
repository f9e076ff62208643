"""What the tests of handing a lease over have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backofflock import (
    DistributedLock,
    ThreadDistributedLock,
    leases,
)
from backofflock.distributed import _base, _gate, _policy
from backofflock.leases import Lease

from . import memory
from .memory import Store

__all__ = ["Clock", "Lock", "a_lease", "assert_free", "store_of", "virtual_clock", "waiting"]

Lock = DistributedLock | ThreadDistributedLock


def store_of(block: int) -> Store:
    store = Store()
    store.block = block
    return store


def waiting(lock: Lock, number: int) -> Callable[[], bool]:
    return lambda: lock.statistics().tasks_waiting == number


def assert_free(lock: Lock, store: Store) -> None:
    assert store.holder("orders") is None
    assert not store.unreleased()
    assert not lock.locked()
    gate = lock._gate
    assert not gate.locked()
    assert gate.heirloom is None
    assert gate.ticket is None
    assert not gate._queue


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    virtual = Clock()
    for module in (leases, _base, _gate, _policy, memory):
        monkeypatch.setattr(module, "clock", virtual)
    return virtual


def a_lease(clock: Clock, **facts: Any) -> Lease:
    facts = {"fence": 1, "last": 5, "ttl": 30.0, "since": clock.now, **facts}
    return Lease("orders", "a token", **facts)
