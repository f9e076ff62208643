"""Locks that have the bugs of this folder, each in a few lines, for the tests that must bite.

They are for tasks of asyncio, and have what the checks of the contract ask of a lock. Each is
written after the description of one bug, and says which.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import replace
from typing import Any

from backofflock import BackoffLock, LockStatistics, WouldBlock

from ..contract.hosts import ON_ASYNCIO
from ..contract.subjects import Make, Subject

IMPATIENT = replace(ON_ASYNCIO, patience=0.3, limit=8.0)
"""Where the faulty locks run that hang: it shall be found out soon."""

PATIENT = replace(ON_ASYNCIO, limit=20.0)
"""Where those run that fail in another way."""


def of(peer: type[Peer]) -> Make:
    """Return what makes a subject of a faulty lock, whatever options the check has for ours."""

    def make(**_options: Any) -> Subject:
        lock: Any = peer()
        return Subject(lock)

    return make


class Peer:
    """The base: one that is held waits for a future of its own in the queue."""

    def __init__(self) -> None:
        self.held = False
        self.queue: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> bool:
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError

    def free(self) -> bool:
        """Return whether a newcomer gets it."""
        return not self.held

    def join(self) -> asyncio.Future[None]:
        """Join the queue."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queue.append(turn)
        return turn

    async def acquire_async(self, *, timeout: float | None = None) -> bool:
        async with asyncio.timeout(timeout):
            return await self.acquire()

    def acquire_nowait(self) -> None:
        if not self.free():
            raise WouldBlock("a peer", len(self.queue))
        self.held = True

    def locked(self) -> bool:
        return self.held

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_exc: object) -> None:
        self.release()

    def statistics(self) -> LockStatistics:
        idle = BackoffLock().statistics()
        return replace(idle, locked=self.held, tasks_waiting=len(self.queue))


class StrandsTheNext(Peer):
    """bpo-27585: a woken waiter that is cancelled tells nobody."""

    async def acquire(self) -> bool:
        if self.held or not all(turn.cancelled() for turn in self.queue):
            turn = self.join()
            try:
                await turn
            except asyncio.CancelledError:
                self.on_cancel()
                raise
            finally:
                self.queue.remove(turn)
        self.held = True
        return True

    def on_cancel(self) -> None:
        pass

    def release(self) -> None:
        self.held = False
        self.wake_one()

    def wake_one(self) -> None:
        for turn in self.queue:
            if not turn.done():
                turn.set_result(None)
                return


class WakesTwo(StrandsTheNext):
    """bpo-32734: the cancelled one wakes another although the release has woken one."""

    def on_cancel(self) -> None:
        if not self.held:
            self.wake_one()


class HandsOver(Peer):
    """anyio #387: a release makes the first waiter the owner, though it may be cancelled by now."""

    async def acquire(self) -> bool:
        if self.held:
            turn = self.join()
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self.queue:
                    self.queue.remove(turn)
                raise
        self.held = True
        return True

    def release(self) -> None:
        if not self.queue:
            self.held = False
            return
        turn = self.queue.popleft()  # from now on it is the holder
        if not turn.done():
            turn.set_result(None)


class StrandsNewcomers(HandsOver):
    """anyio #1145: a release passes the cancelled by, and one that comes now waits behind them."""

    def free(self) -> bool:
        return not self.held and not self.queue

    async def acquire(self) -> bool:
        if not self.free():
            turn = self.join()
            try:
                await turn
            except asyncio.CancelledError:
                self.queue.remove(turn)
                if not turn.cancelled():
                    self.release()
                raise
            self.queue.remove(turn)
        self.held = True
        return True

    def release(self) -> None:
        for turn in self.queue:
            if not turn.done():
                turn.set_result(None)
                return
        self.held = False


class WedgedSemaphore(Peer):
    """gh-90155: what says that somebody is on the way stays set when that one is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.on_the_way = False

    def free(self) -> bool:
        return not self.held and not self.on_the_way

    async def acquire(self) -> bool:
        while not self.free():
            try:
                await self.join()
            except asyncio.CancelledError:
                self.wake_one()
                raise
            self.on_the_way = False
        self.held = True
        return True

    def release(self) -> None:
        self.held = False
        self.wake_one()

    def wake_one(self) -> None:
        while self.queue:
            turn = self.queue.popleft()
            if not turn.done():
                turn.set_result(None)
                self.on_the_way = True
                return


class TakesThenYields(StrandsTheNext):
    """anyio #398: the free lock is taken before a checkpoint, where a cancel loses it."""

    async def acquire(self) -> bool:
        await super().acquire()
        await asyncio.sleep(0)
        return True


class Polls(Peer):
    """Try and sleep, without a queue; the subclasses say for how long."""

    nap = 0.001

    async def acquire(self) -> bool:
        while self.held:
            self.queue.append(turn := asyncio.get_running_loop().create_future())
            try:
                await asyncio.sleep(self.nap)
            finally:
                self.queue.remove(turn)
        self.held = True
        return True

    def release(self) -> None:
        self.held = False


class Spins(Polls):
    """Every waiter tries in every turn of the loop."""

    nap = 0.0


class HandsOverAcrossLoops:
    """A lock of all loops and threads that gives itself to the first waiter, wherever that is."""

    def __init__(self) -> None:
        self.held = False
        self.queue: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._mutex = threading.Lock()

    async def acquire(self) -> None:
        with self._mutex:
            if not self.held:
                self.held = True
                return
            loop = asyncio.get_running_loop()
            turn: asyncio.Future[None] = loop.create_future()
            self.queue.append((loop, turn))
        await turn

    def release(self) -> None:
        with self._mutex:
            if not self.queue:
                self.held = False
                return
            loop, turn = self.queue.popleft()
        loop.call_soon_threadsafe(turn.set_result, None)


class SelfDeadlock(Exception):
    """A thread is about to wait for a mutex that it holds itself."""


class Guarded:
    """A lock whose state is guarded by a mutex, as a queue with a mutex is; for one thread.

    It says what would happen and does not hang: `SelfDeadlock` where the thread comes back while
    it has the mutex.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._held = False
        self._latest: list[Exception] = []

    def _enter(self) -> None:
        if not self._mutex.acquire(timeout=0.2):
            raise SelfDeadlock
        self._latest = [Exception() for _ in range(3)]  # it makes objects, as real ones do

    def acquire(self, blocking: bool) -> bool:
        assert not blocking
        self._enter()
        try:
            taken = not self._held
            self._held = True
        finally:
            self._mutex.release()
        return taken

    def release(self) -> None:
        self._enter()
        try:
            self._held = False
        finally:
            self._mutex.release()
