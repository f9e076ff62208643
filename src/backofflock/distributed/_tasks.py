"""`DistributedLock`: the face for tasks."""

from __future__ import annotations

import asyncio
from functools import partial
from os import urandom
from types import TracebackType

import anyio.lowlevel

from .._checks import Duration
from .._contention import Limits
from .._hosts import Task, running_asyncio_task, running_task, task_name
from .._observers import observer
from ..leases import AsyncBackend, Lease, clock
from ._base import (
    CLEANUP,
    DEFAULT,
    RELEASED,
    Default,
    DistributedFace,
    at_gate,
    goes_first,
)
from ._bodies import AsyncioBody, Body, TrioBody
from ._calls import calls_in_tasks
from ._driver import drive, give_back, see_through
from ._keepers import AsyncioKeeper, TaskKeeper, TrioKeeper
from ._policy import Pursuit

__all__ = ["DistributedLock"]


class _Holding:
    """What belongs to one lease while it is held."""

    __slots__ = ("body", "calls", "keeper", "lease", "task", "ticket")

    def __init__(self, lease: Lease, calls: AsyncBackend, task: Task, ticket: str) -> None:
        self.lease = lease
        self.calls = calls
        self.ticket = ticket
        self.task = task
        self.keeper: TaskKeeper | None = None
        self.body: Body | None = None

    def on_loss(self) -> None:
        """Cancel the body, if there is one."""
        if self.body is not None:
            self.body.cancel()


class DistributedLock(DistributedFace):
    """A lock that tasks of many processes and machines share, kept by a backend.

    ``async with`` gives a `Lease`: the lock, for as long as it is renewed, which happens by itself.
    One lock object serves many tasks, on any loop of asyncio or trio; in each process one of them
    asks the backend and the others queue behind it. Who releases the lock leaves it to the next of
    them without a request, for a second at the most, where the backend gives fences for that.

    >>> import asyncio, tempfile
    >>> from pathlib import Path
    >>> lock = DistributedLock("nightly report", Path(tempfile.mkdtemp()).as_uri())
    >>> async def main():
    ...     async with lock as lease:
    ...         lease.ensure_held()  # before each step that must not happen twice
    ...         return lease.name, lease.fence > 0
    >>> asyncio.run(main())
    ('nightly report', True)

    When to use it: where processes or machines must not do the same thing at once. When not: within
    one process `BackoffLock` and `ThreadBackoffLock` need no server and cannot be lost.

    Arguments (times are seconds or a `datetime.timedelta`):

    - `name`: what all processes know the lock by.
    - `backend`: a URL for `backofflock.connect`, or an object with the three calls that
      `backofflock.leases` describes.
    - `ttl`: after so long without a renewal another may have the lock. Every `ttl` / 4 to `ttl` / 3
      the lease is renewed. Longer means fewer requests; shorter, that the others wait less for one
      that died.
    - `renewal`: True renews until the release, False never, a duration for so long.
    - `schedule`, `timeout`, `max_attempts`, `on_wait`, `rng`: as for `BackoffLock`.
    - `request_timeout`: a request that takes longer counts as not answered.

    A lost lease cancels the body of ``async with``, and `LeaseLost` is raised at its end. So it is
    if the body ended by itself after the lease had. After `acquire` there is no body to cancel: ask
    the lease.

    Promised: an acquire that is cancelled, times out or fails leaves nothing held: what may have
    been granted is released, before the error is raised if the backend answers within a second.
    Waiting blocks no event loop. The lease ends for its holder before the backend gives the lock to
    another, by its clock. Not promised: an order between processes; that a holder that was stopped
    in the middle of a write does not finish it, see `Lease`.
    """

    _holding: _Holding | None = None

    async def __aenter__(self) -> Lease:
        holding = await self._take(self._default_limits)
        task = holding.task
        holding.body = AsyncioBody(task) if isinstance(task, asyncio.Task) else TrioBody()
        return holding.lease

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        holding = self._holding
        if holding is None:
            return  # the loop was closed in the body, and others had the gate since
        body, holding.body = holding.body, None
        assert body is not None, "who has entered leaves"
        ended = body.end(exc_value)
        was_held = await self._release(holding)
        if not was_held and not goes_first(ended):
            raise holding.lease.loss() from ended or holding.lease.lost.failure
        if ended is not None and ended is not exc_value:
            raise ended

    async def acquire(
        self,
        *,
        timeout: Duration | Default | None = DEFAULT,
        max_attempts: int | Default | None = DEFAULT,
    ) -> Lease:
        """Wait for the lock, and return the lease.

        `timeout` (seconds or a timedelta) and `max_attempts` stand in for the constructor's; a
        timeout of 0 is one try, or none while this process, after a second of holding it again and
        again, leaves it to others. Raises `AcquireTimeout` at a limit, `BackendRefused` where
        asking again is of no use, and RuntimeError if this task has the lock already.
        Cancelled here, nothing is held.
        """
        return (await self._take(self._limits(timeout, max_attempts))).lease

    async def release(self) -> None:
        """Release the lock; any task of the event loop in which it was acquired may.

        Raises `LeaseLost` if the lease had ended, and RuntimeError if the lock is not held here. If
        the backend does not answer, the lock stays taken until the lease ends; the log says so.
        """
        holding = self._holding
        if holding is None or holding.body is not None:
            raise self._unheld()
        if not await self._release(holding):
            raise holding.lease.loss() from holding.lease.lost.failure

    async def _take(self, limits: Limits) -> _Holding:
        since = clock()
        task = running_task()
        label = task_name(task)
        gate, ticket = self._gate, urandom(16).hex()
        if gate.holder is task:
            raise self._reentered(label)
        of_asyncio = isinstance(task, asyncio.Task)
        calls = self._calls_on("asyncio" if of_asyncio else "trio")
        waits = gate.locked()
        pursuit: Pursuit | None = None
        try:
            # On trio by way of a checkpoint, also where it is free.
            if not (of_asyncio and gate._contention.try_take(None, None, 0.0)):
                await gate._enter(at_gate(limits), observer(self._on_wait))
            gate.ticket = ticket
            pursuit = self._pursuit(task, label, ticket, limits, since)
            return await self._pursue(pursuit, task, calls, waits)
        except BaseException as error:
            try:
                await self._quit(ticket, calls)
            finally:
                self._count_failure(error, label, since, pursuit)
            raise

    def _calls_on(self, host: str) -> AsyncBackend:
        calls = self._calls.get(host)
        if calls is None:
            calls = self._calls[host] = calls_in_tasks(self._backend, host)
        return calls

    async def _pursue(
        self, pursuit: Pursuit, task: Task, calls: AsyncBackend, waited: bool
    ) -> _Holding:
        """Get a lease, or see that nothing is held."""
        ticket = pursuit.token
        lease: Lease | None = None
        keeper: TaskKeeper | None = None
        try:
            lease = self._inherit(pursuit) or await self._ask(pursuit, calls)
            holding = _Holding(lease, calls, task, ticket)
            kind = AsyncioKeeper if isinstance(task, asyncio.Task) else TrioKeeper
            begins_in = self._keeping_begins_in(lease)
            keeper = holding.keeper = kind(lease, begins_in, self._renew, holding.on_loss)
            self._count(pursuit, lease, waited)
            self._gate.is_orphan = keeper.is_orphan
            self._holding = holding
            return holding
        except BaseException as error:
            self._holding = None
            self._call_off(pursuit, lease, keeper)
            if isinstance(error, GeneratorExit):
                raise  # the loop was closed, and now this coroutine is: it can await nothing
            await see_through(partial(give_back, calls, self._name, pursuit.token, CLEANUP))
            raise

    async def _ask(self, pursuit: Pursuit, calls: AsyncBackend) -> Lease:
        """Get a lease from the backend."""
        gate, heirloom = self._gate, self._gate.heirloom
        if heirloom is not None:  # it is no use
            within = pursuit.within(clock())
            answer = await give_back(calls, self._name, heirloom.token, within)
            gate.heirloom = None
            self._note_answer(heirloom, *answer)
        steps = pursuit.steps()
        lease: Lease = await drive(steps, next(steps), calls, self._name, pursuit.token, self._ttl)
        return lease

    async def _renew(self, lease: Lease) -> str:
        """Keep a lease until it is lost; return why."""
        steps = self._keeping(lease)
        calls = self._calls_on("trio" if running_asyncio_task() is None else "asyncio")
        reason: str = await drive(steps, next(steps), calls, self._name, lease.token, self._ttl)
        return reason

    async def _release(self, holding: _Holding) -> bool:
        """Give everything back; return whether the lease was held to the end."""
        lease, gate, ticket = holding.lease, self._gate, holding.ticket
        if gate.ticket != ticket:
            return False  # in a forked child, or its event loop was taken for dead
        self._holding = None
        assert holding.keeper is not None
        holding.keeper.stop()
        try:
            was_held = lease.lost.end(RELEASED) and lease.lost.was_in_time
            if was_held and self._may_change_hands(lease) and gate.bequeath(ticket, lease):
                self._tell_hold(lease, "released")
                await anyio.lowlevel.checkpoint()  # so that its heir has it when this task goes on
                return True
            return await self._give_back(holding, was_held)
        finally:
            await self._quit(ticket, holding.calls)

    async def _quit(self, ticket: str, calls: AsyncBackend) -> None:
        """Leave the gate if it was passed, and no lease there that nobody comes for."""
        gate = self._gate
        try:
            heirloom = gate.reclaim(ticket)
            if heirloom is not None:
                insist = partial(give_back, calls, self._name, heirloom.token, CLEANUP)
                self._note_answer(heirloom, *await see_through(insist))
        finally:
            gate.leave(ticket)

    async def _give_back(self, holding: _Holding, was_held: bool) -> bool:
        """Release the token, and note how that went; return whether it was held to the end."""
        calls, lease = holding.calls, holding.lease

        async def insist(seconds: float) -> bool:
            answer = await give_back(calls, self._name, lease.token, seconds)
            return self._settle(lease, was_held, *answer)

        if not was_held:
            return await see_through(partial(insist, CLEANUP))
        try:
            # Without a task of its own: a request that is not disturbed needs none.
            return await insist(self._request_timeout)
        except GeneratorExit:
            raise  # as in `_pursue`
        except BaseException:
            await see_through(partial(insist, CLEANUP))
            raise
