"""A backend in memory, for tests: a store that plays the server, and clients with troubles.

The store does each request at once and whole, under a mutex, and keeps books of what it was asked.
The clients, plain and native, share one list of troubles: a request that hangs, is late, fails
before or after it was carried out. Nothing here is a mock of the locks: they run as they are.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

import anyio

from backofflock import DistributedLock, ThreadDistributedLock
from backofflock.errors import BackendRefused, BackendUnavailable
from backofflock.leases import Busy, Grant, clock

__all__ = ["AsyncMemory", "Memory", "NativeMemory", "Store", "Trouble", "assert_free", "until"]


class Store:
    """The server: who has which lock and until when, and which tokens asked and were released."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.holders: dict[str, tuple[str, float]] = {}
        self.fences: Counter[str] = Counter()
        self.asked: set[str] = set()
        self.released: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.retry_after = 0.0
        self.granted_ttl: float | None = None
        """The ttl of every grant, where it is not what was asked for."""
        self.block = 1
        """Fences of every grant."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        with self.mutex:
            self.requests["try_acquire"] += 1
            self.asked.add(token)
            holder = self._holder(name)
            if holder not in (None, token) or token in self.released:
                return Busy(self.retry_after)
            if holder is None:
                self.fences[name] += self.block
            granted = ttl if self.granted_ttl is None else self.granted_ttl
            self.holders[name] = token, clock() + granted
            last = self.fences[name]
            if self.block == 1:
                return Grant(last, granted)
            return Grant(last - self.block + 1, granted, last)

    def renew(self, name: str, token: str, ttl: float) -> bool:
        with self.mutex:
            self.requests["renew"] += 1
            if self._holder(name) != token:
                return False
            self.holders[name] = token, clock() + (self.granted_ttl or ttl)
            return True

    def release(self, name: str, token: str) -> bool:
        with self.mutex:
            self.requests["release"] += 1
            self.released[token] += 1
            if self._holder(name) != token:
                return False
            del self.holders[name]
            return True

    def holder(self, name: str) -> str | None:
        """Return the token that has the lock."""
        with self.mutex:
            return self._holder(name)

    def delete(self, name: str) -> None:
        """Take the lock from whoever has it."""
        with self.mutex:
            del self.holders[name]

    def give(self, name: str, token: str = "a stranger", ttl: float = 1e6) -> None:
        """Give the lock to somebody, at once."""
        with self.mutex:
            self.fences[name] += 1
            self.holders[name] = token, clock() + ttl

    def unreleased(self) -> set[str]:
        """Return the tokens that asked for a lock and were never released."""
        with self.mutex:
            return self.asked - set(self.released)

    def _holder(self, name: str) -> str | None:
        token, expires = self.holders.get(name, (None, inf))
        if token is not None and clock() >= expires:
            del self.holders[name]
            return None
        return token


@dataclass
class Trouble:
    """What befalls a kind of request, from the time it is added until `times` have met it."""

    call: str
    before: float = 0.0
    """Seconds until the server hears of it; infinite: it hangs and never does."""
    after: float = 0.0
    """Seconds until the client hears of the answer; infinite: it hangs, carried out."""
    unavailable: str = ""
    """Raises BackendUnavailable, at ``"once"``, or with the answer ``"lost"``."""
    refused: bool = False
    error: BaseException | None = None
    times: float = inf
    let_go: threading.Event = field(default_factory=threading.Event)
    """Ends the plain client's hanging; tests set it so that no thread is left over."""


class _Client:
    def __init__(self, store: Store | None = None) -> None:
        self.store = Store() if store is None else store
        self.troubles: list[Trouble] = []
        self.under_way: Counter[str] = Counter()
        """Requests sent and not answered, by call."""
        self._number = threading.Lock()

    def __str__(self) -> str:
        return "memory://"

    @contextmanager
    def _sent(self, call: str) -> Iterator[Trouble]:
        with self._number:
            self.under_way[call] += 1
            met = next((t for t in self.troubles if t.call == call and t.times > 0), None)
            if met is not None:
                met.times -= 1
        try:
            yield Trouble(call) if met is None else met
        finally:
            with self._number:
                self.under_way[call] -= 1

    def trouble(
        self,
        call: str,
        *,
        before: float = 0.0,
        after: float = 0.0,
        unavailable: str = "",
        refused: bool = False,
        error: BaseException | None = None,
        times: float = inf,
    ) -> Trouble:
        """Add a trouble; of several the first that is not used up counts."""
        added = Trouble(call, before, after, unavailable, refused, error, times)
        self.troubles.append(added)
        return added

    def cure(self) -> None:
        """End all troubles, and let go what hangs."""
        troubles, self.troubles = self.troubles, []
        for trouble in troubles:
            trouble.let_go.set()

    def _fail_before(self, trouble: Trouble) -> None:
        if trouble.unavailable == "once":
            raise BackendUnavailable(str(self), trouble.call, "connection refused")
        if trouble.refused:
            raise BackendRefused(str(self), trouble.call, "invalid password")
        if trouble.error is not None:
            raise trouble.error

    def _fail_after(self, trouble: Trouble) -> None:
        if trouble.unavailable == "lost":
            raise BackendUnavailable(str(self), trouble.call, "connection reset")


class Memory(_Client):
    """A client with plain functions; `blocking` as backends declare it."""

    def __init__(self, store: Store | None = None, *, blocking: bool = True) -> None:
        super().__init__(store)
        self.blocking = blocking

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        with self._sent("try_acquire") as trouble:
            self._wait(trouble.before, trouble)
            self._fail_before(trouble)
            answer = self.store.try_acquire(name, token, ttl)
            self._wait(trouble.after, trouble)
            self._fail_after(trouble)
            return answer

    def renew(self, name: str, token: str, ttl: float) -> bool:
        with self._sent("renew") as trouble:
            self._wait(trouble.before, trouble)
            self._fail_before(trouble)
            answer = self.store.renew(name, token, ttl)
            self._wait(trouble.after, trouble)
            self._fail_after(trouble)
            return answer

    def release(self, name: str, token: str) -> bool:
        with self._sent("release") as trouble:
            self._wait(trouble.before, trouble)
            self._fail_before(trouble)
            answer = self.store.release(name, token)
            self._wait(trouble.after, trouble)
            self._fail_after(trouble)
            return answer

    def _wait(self, seconds: float, trouble: Trouble) -> None:
        if seconds:
            # 30 s, so that a test that forgets to let go fails and does not hang.
            trouble.let_go.wait(min(seconds, 30.0))


class AsyncMemory(_Client):
    """A client with coroutines. Each has a checkpoint before and after it reaches the server."""

    async def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        with self._sent("try_acquire") as trouble:
            await anyio.sleep(trouble.before)
            self._fail_before(trouble)
            answer = self.store.try_acquire(name, token, ttl)
            await anyio.sleep(trouble.after)
            self._fail_after(trouble)
            return answer

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        with self._sent("renew") as trouble:
            await anyio.sleep(trouble.before)
            self._fail_before(trouble)
            answer = self.store.renew(name, token, ttl)
            await anyio.sleep(trouble.after)
            self._fail_after(trouble)
            return answer

    async def release(self, name: str, token: str) -> bool:
        with self._sent("release") as trouble:
            await anyio.sleep(trouble.before)
            self._fail_before(trouble)
            answer = self.store.release(name, token)
            await anyio.sleep(trouble.after)
            self._fail_after(trouble)
            return answer


class NativeMemory(Memory):
    """A plain client that has a native one for tasks of `hosts`, which shares its troubles."""

    def __init__(
        self, store: Store | None = None, hosts: tuple[str, ...] = ("asyncio", "trio")
    ) -> None:
        super().__init__(store)
        self.hosts = hosts
        self.client = AsyncMemory(self.store)
        self.client.troubles = self.troubles

    def native(self, host: str) -> AsyncMemory | None:
        return self.client if host in self.hosts else None


def assert_free(
    lock: DistributedLock | ThreadDistributedLock, backend: Memory | AsyncMemory
) -> None:
    """Check that nobody has the lock "orders" or waits for it, here and at the server."""
    assert backend.store.holder("orders") is None
    assert not backend.store.unreleased()
    assert not lock.locked()
    statistics = lock.statistics()
    assert not statistics.locked
    assert statistics.tasks_waiting == 0


def until(condition: object, seconds: float = 20.0) -> None:
    """Wait in a thread until a condition holds."""
    assert callable(condition)
    latest = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < latest, "in vain"
        time.sleep(0.001)
