"""Who renews a lease while its holder works.

A timer and a task of asyncio, a system task of trio, or a timer and a thread. On asyncio and in
threads nothing runs before the first renewal can be due, which for most leases is never.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from time import monotonic
from typing import Any, Protocol

import anyio

from ..leases import Lease
from ._alarms import alarms_of, thread_alarms
from ._policy import DAY

__all__ = ["AsyncioKeeper", "Keeper", "TaskKeeper", "ThreadKeeper", "TrioKeeper"]

logger = logging.getLogger("backofflock")

AGAIN = 1.0
"""Seconds within which a thread is asked for again where none could be started."""


class Keeper(Protocol):
    """Renews a lease until it is lost or `stop` is called."""

    def stop(self) -> None:
        """Renew no more."""


def _end(lease: Lease, reason: str, on_loss: Callable[[], None] = lambda: None) -> None:
    """Note the loss of a lease, and call `on_loss`, unless it has ended before."""
    if lease.lost.end(reason):
        on_loss()  # first: to tell of it may take its time, and fail
        _tell(lease)


def _tell(lease: Lease) -> None:
    """Log the loss of a lease."""
    try:
        logger.error("%s", lease.loss())
    except Exception:  # of somebody's logging handler
        traceback.print_exc()


class _TaskKeeper:
    """Renews a lease in a task, which calls `on_loss` when it is lost."""

    def __init__(
        self,
        lease: Lease,
        begins_in: float,
        renew: Callable[[Lease], Awaitable[str]],
        on_loss: Callable[[], None],
    ) -> None:
        self._lease = lease
        self._renew = renew
        self._on_loss = on_loss
        self._begin_in(begins_in)

    def _begin_in(self, seconds: float) -> None:
        raise NotImplementedError

    async def _run(self) -> None:
        try:
            reason = await self._renew(self._lease)
        except Exception as error:
            reason = f"it could not be renewed: {error}"
        _end(self._lease, reason, self._on_loss)


class AsyncioKeeper(_TaskKeeper):
    """Renews a lease on the running loop of asyncio."""

    def _begin_in(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._context = copy_context()  # that of the loop's timer is somebody else's
        self._alarms = alarms_of(self._loop)
        self._alarm = self._alarms.call_later(seconds, self._begin)

    def _begin(self) -> None:
        name = f"lease of {self._lease.name}"
        # Task factories need not know of contexts.
        self._task = self._context.run(self._loop.create_task, self._run(), name=name)
        self._task.add_done_callback(self._has_ended)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        # If not by us, then by one that cancels all tasks of the loop, or by an interrupt.
        if task.cancelled() or task.exception() is not None:
            self._look_at_deadline()

    def _look_at_deadline(self) -> None:
        if self._stopped or self._loop.is_closed():
            return
        if not self._lease.lost.is_set():
            seconds = min(self._lease.remaining(), DAY)
            self._alarm = self._alarms.call_later(seconds, self._look_at_deadline)
        else:
            _end(self._lease, self._lease.lost.reason, self._on_loss)

    def stop(self) -> None:
        """Renew no more; call it in the thread of the loop."""
        self._stopped = True
        self._alarm.cancel()
        if self._task is not None:
            self._task.cancel()

    def is_orphan(self) -> bool:
        """Return whether the loop was closed."""
        return self._loop.is_closed()


class TrioKeeper(_TaskKeeper):
    """Renews a lease in a system task of the running trio."""

    def _begin_in(self, seconds: float) -> None:
        self._scope = anyio.CancelScope()
        self._is_over = False
        lowlevel: Any = sys.modules["trio"].lowlevel
        lowlevel.spawn_system_task(self._run_in_scope, name=f"lease of {self._lease.name}")

    async def _run_in_scope(self) -> None:
        try:
            with self._scope:
                await self._run()  # it naps as long
                await anyio.sleep_forever()  # lost; as long as this sleeps, trio runs
        except BaseException:
            self._is_over = True  # not by a stop, which ends in the scope, but with trio itself
            raise

    def stop(self) -> None:
        """Renew no more; call it in the thread of trio."""
        self._scope.cancel()

    def is_orphan(self) -> bool:
        """Return whether the run of trio is over."""
        return self._is_over


TaskKeeper = AsyncioKeeper | TrioKeeper


class ThreadKeeper:
    """Renews a lease in a thread of its own, once its first renewal can be due."""

    def __init__(
        self,
        lease: Lease,
        begins_in: float,
        renew: Callable[[Lease, Callable[[float], bool]], str],
    ) -> None:
        self._lease = lease
        self._renew = renew
        self._is_stopped = False
        self._stopped: threading.Event | None = None
        """Made for the thread that waits for it: most leases are released before there is one."""
        self._alarm = thread_alarms().call_at(monotonic() + begins_in, self._begin)

    def _begin(self) -> None:
        lost, work = self._lease.lost, self._run
        is_over = lost.is_set()
        if is_over:
            if not lost.end(lost.reason):
                return  # the acquire was interrupted
            work = partial(_tell, self._lease)
        self._stopped = threading.Event()  # here, and only then the look: `stop` does it in reverse
        if self._is_stopped:
            return
        name = f"lease of {self._lease.name}"
        try:
            threading.Thread(target=work, name=name, daemon=True).start()
        except RuntimeError as error:  # the system has no more threads to give just now
            if is_over:
                work()
                return
            logger.warning("lock %r: no thread to renew it (%s)", self._lease.name, error)
            again = monotonic() + min(self._lease.remaining(), self._lease.ttl / 20, AGAIN)
            self._alarm = thread_alarms().call_at(again, self._begin)

    def _run(self) -> None:
        stopped = self._stopped
        assert stopped is not None
        try:
            reason = self._renew(self._lease, stopped.wait)
        except Exception as error:
            reason = f"it could not be renewed: {error}"
        if not self._is_stopped:
            _end(self._lease, reason)

    def stop(self) -> None:
        """Renew no more; one that is under way may still be answered."""
        self._is_stopped = True
        if self._stopped is not None:
            self._stopped.set()
        self._alarm.cancel()
