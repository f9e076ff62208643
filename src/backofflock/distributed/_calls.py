"""How tasks call a backend: natively, in worker threads, or as it is if it never waits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import anyio
from anyio import to_thread

from ..errors import BackendUnavailable
from ..leases import AsyncBackend, Backend, Busy, Grant

__all__ = ["calls_in_tasks", "in_worker_thread", "is_async"]

T = TypeVar("T")


def is_async(backend: object) -> bool:
    """Return whether the calls of a backend are coroutines."""
    return inspect.iscoroutinefunction(getattr(backend, "try_acquire", None))


def calls_in_tasks(backend: Backend | AsyncBackend, host: str) -> AsyncBackend:
    """Return the calls of a backend as coroutines for tasks of ``"asyncio"`` or ``"trio"``."""
    if is_async(backend):
        return cast("AsyncBackend", backend)
    backend = cast("Backend", backend)
    native: Callable[[str], AsyncBackend | None] | None = getattr(backend, "native", None)
    calls = None if native is None else native(host)
    if calls is not None:
        return calls
    return InWorkerThreads(backend) if getattr(backend, "blocking", True) else AsItIs(backend)


class AsItIs:
    """The calls of a backend that never waits for a network."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __str__(self) -> str:
        return str(self._backend)

    async def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Call it."""
        return self._backend.try_acquire(name, token, ttl)

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        """Call it."""
        return self._backend.renew(name, token, ttl)

    async def release(self, name: str, token: str) -> bool:
        """Call it."""
        return self._backend.release(name, token)


class InWorkerThreads:
    """The calls of a backend that blocks, each in a worker thread.

    A call that is cancelled goes on in its thread, where nobody sees its answer. Until it ends,
    another try or renewal for the token counts as unanswered: there is one thread for a token, not
    one for each attempt at a server that hangs. A release overtakes what is under way.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._under_way: set[str] = set()

    def __str__(self) -> str:
        return str(self._backend)

    async def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Call it in a worker thread."""
        call = partial(self._backend.try_acquire, name, token, ttl)
        return await self._alone("try_acquire", token, call)

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        """Call it in a worker thread."""
        return await self._alone("renew", token, partial(self._backend.renew, name, token, ttl))

    async def release(self, name: str, token: str) -> bool:
        """Call it in a worker thread."""
        return await in_worker_thread(partial(self._backend.release, name, token))

    async def _alone(self, name: str, token: str, call: Callable[[], T]) -> T:
        if token in self._under_way:
            raise BackendUnavailable(str(self), name, "an earlier request is still under way")
        self._under_way.add(token)
        begun = False

        def run() -> T:
            nonlocal begun
            begun = True
            try:
                return call()
            finally:
                self._under_way.discard(token)

        try:
            return await in_worker_thread(run)
        finally:
            if not begun:  # cancelled on the way to its thread
                self._under_way.discard(token)


async def in_worker_thread(call: Callable[[], T]) -> T:
    """Call it in a worker thread, which goes on with it if this task is cancelled."""
    # A limiter of its own: behind one that others share, hung calls would hold up theirs.
    limiter = anyio.CapacityLimiter(1)
    return await to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)
