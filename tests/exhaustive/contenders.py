"""Who contends in a world: tasks of a loop driven through the real faces, and threads."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backofflock import AcquireTimeout, BackoffLock, OwnerDied, ThreadBackoffLock
from backofflock._waiter import Pledge, Waiter

from .loop import Clock, HandLoop

if TYPE_CHECKING:
    from .world import World

__all__ = ["Actor", "Contender", "HandWaiter", "TaskActor", "ThreadActor", "actor_name"]

Lock = BackoffLock | ThreadBackoffLock


@dataclass(frozen=True)
class Contender:
    """One that wants the lock `visits` times: a task of `loop`, or a thread without one."""

    loop: str | None = None
    visits: int = 1
    timeout: float | None = None
    max_attempts: int | None = None
    steps: bool = False
    """Whether the task goes through ``attempts()``."""
    direct: bool = False
    """Whether the thread uses the lock underneath, past ours: it waits for nobody, wakes nobody."""


class Actor(ABC):
    """A contender in a world. Its stages: new, waiting, inside, between, and how it ended."""

    def __init__(self, world: World, number: int, spec: Contender) -> None:
        self.world = world
        self.number = number
        self.spec = spec
        self.visits = 0
        self.stage = "new"
        self.may_leave = False

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether it has come to its end, whichever."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it can ever run again."""

    @abstractmethod
    def waiter(self) -> Waiter | None:
        """Return its waiter, if it waits."""

    @abstractmethod
    def cancel(self) -> None:
        """Cancel it, or interrupt it."""

    @abstractmethod
    def leave(self) -> None:
        """Let it go on from inside."""

    @abstractmethod
    def state(self) -> tuple[object, ...]:
        """Return what distinguishes it from itself at another time."""

    @abstractmethod
    def dispose(self) -> None:
        """Forget it."""

    def enter(self) -> None:
        self.world.entered(self)
        self.stage = "inside"
        self.visits += 1

    def exit(self) -> None:
        self.stage = "between"
        self.may_leave = False


def actor_name(actor: Actor) -> str:
    """Return what its waiter goes by."""
    return f"{'task' if isinstance(actor, TaskActor) else 'thread'} {actor.number}"


class TaskActor(Actor):
    """A real task on a loop that is stepped by hand."""

    def __init__(self, world: World, number: int, spec: Contender, loop: HandLoop) -> None:
        super().__init__(world, number, spec)
        self.loop = loop
        self.gate: asyncio.Future[None] | None = None
        self.task = loop.create_task(self._run(world.lock), name=f"task {number}")
        self.cancels = 0

    @property
    def alive(self) -> bool:
        return self.loop.alive

    @property
    def ended(self) -> bool:
        return self.task.done()

    @property
    def error(self) -> BaseException | None:
        """What ended it that nobody expects."""
        if not self.task.done() or self.task.cancelled():
            return None
        return self.task.exception()

    async def _run(self, lock: Lock) -> None:
        try:
            while self.visits < self.spec.visits:
                self.stage = "waiting"
                if self.spec.steps:
                    await self._visit_by_steps(lock)
                elif self.spec.timeout is None and self.spec.max_attempts is None:
                    async with lock:
                        await self._stay()
                else:
                    await self._visit_in_time(lock)
            self.stage = "done"
        except AcquireTimeout:
            self.stage = "timed out"
        except OwnerDied:
            self.stage = "owner died"
        except asyncio.CancelledError:
            self.stage = "cancelled"

    async def _visit_in_time(self, lock: Lock) -> None:
        acquire = lock.acquire if isinstance(lock, BackoffLock) else lock.acquire_async
        await acquire(timeout=self.spec.timeout, max_attempts=self.spec.max_attempts)
        try:
            await self._stay()
        finally:
            lock.release()

    async def _visit_by_steps(self, lock: Lock) -> None:
        async for attempt in lock.attempts(timeout=self.spec.timeout):
            if attempt:
                async with attempt:
                    await self._stay()

    async def _stay(self) -> None:
        self.enter()
        self.gate = self.loop.create_future()
        try:
            await self.gate
        finally:
            self.gate = None
            self.exit()

    def waiter(self) -> Waiter | None:
        for waiter in self.world.lock._contention.queue:
            if getattr(waiter, "task", None) is self.task:
                return waiter
        return None

    def cancel(self) -> None:
        self.cancels += 1
        self.loop.run(self.task.cancel)

    def leave(self) -> None:
        self.may_leave = True
        gate = self.gate
        if gate is not None and not gate.done():
            self.loop.run(lambda: gate.set_result(None))

    def state(self) -> tuple[object, ...]:
        return self.stage, self.visits, self.may_leave, self.cancels, self.task.done()

    def dispose(self) -> None:
        self.task._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine = self.task.get_coro()
        if coroutine is not None:
            with suppress(RuntimeError):  # it holds the lock, and no task runs to release it
                coroutine.close()


class HandWaiter(Waiter):
    """A thread's wait whose wake-up stands still until it is delivered, or lost."""

    __slots__ = ("_clock", "delivered", "number", "posted", "until")

    def __init__(self, clock: Clock, number: int, window: float) -> None:
        self.window = window
        self.pledge = Pledge()
        self.number = number
        self.until: float | None = None
        self.posted = self.delivered = False
        self._clock = clock

    @property
    def name(self) -> str:
        return f"thread {self.number}"

    def clock(self) -> float:
        return self._clock.now

    def wake(self) -> bool:
        self.posted = True
        return True


class ThreadActor(Actor):
    """A thread: the steps that ``with`` takes, with the naps slept by the world."""

    def __init__(self, world: World, number: int, spec: Contender) -> None:
        super().__init__(world, number, spec)
        self.dead = False
        self.wait: HandWaiter | None = None
        self._program = self._run_past(world.direct) if spec.direct else self._run(world.lock)

    @property
    def alive(self) -> bool:
        return not self.dead

    @property
    def ended(self) -> bool:
        return self.stage in {"done", "timed out", "cancelled"}

    @property
    def runnable(self) -> bool:
        """Whether it can take a step now."""
        if self.dead or self.ended or (self.stage == "inside" and not self.may_leave):
            return False
        if self.spec.direct and self.stage != "inside":
            assert self.world.direct is not None
            return not self.world.direct.locked()
        if self.wait is None or self.wait.until is None:
            return True
        return self.wait.delivered or self.wait.until <= self.world.clock.now

    def _run_past(self, lock: ThreadBackoffLock | None) -> Generator[None, None, None]:
        assert lock is not None
        while self.visits < self.spec.visits:
            lock.acquire()
            self.enter()
            yield
            self.exit()
            lock.release()
            yield
        self.stage = "done"

    def _run(self, lock: Lock) -> Generator[None, None, None]:
        assert isinstance(lock, ThreadBackoffLock)
        try:
            while self.visits < self.spec.visits:
                self.stage = "waiting"
                if not lock.acquire(blocking=False):
                    yield  # between the try and the joining another may release
                    yield from self._wait_for(lock)
                self.enter()
                yield
                self.exit()
                lock.release()
                yield  # another may come before it asks again
            self.stage = "done"
        except AcquireTimeout:
            self.stage = "timed out"
        except KeyboardInterrupt:
            if self.stage == "inside":
                lock.release()
            self.stage = "cancelled"

    def _wait_for(self, lock: ThreadBackoffLock) -> Generator[None, None, None]:
        waiter = self.wait = HandWaiter(self.world.clock, self.number, lock._thread_window)
        limits = self.spec.timeout, self.spec.max_attempts
        policy = lock._contention.contend(waiter, limits, None)
        try:
            for seconds in policy:
                waiter.until = self.world.clock.now + seconds
                yield
                waiter.until = None
                waiter.delivered = False
        except BaseException:
            lock._contention.abandon(policy, waiter)
            raise
        finally:
            self.wait = None

    def step(self) -> None:
        """Run until the next nap, or until it is inside, or has ended."""
        next(self._program, None)

    def waiter(self) -> Waiter | None:
        return self.wait if self.wait in self.world.lock._contention.queue else None

    def cancel(self) -> None:
        try:
            self._program.throw(KeyboardInterrupt)
        except (KeyboardInterrupt, StopIteration):
            self.stage = "cancelled"

    def leave(self) -> None:
        self.may_leave = True

    def state(self) -> tuple[object, ...]:
        wait = self.wait
        until = None
        if wait is not None and wait.until is not None and not self.dead:
            # The nap of a dead one ends no more; past its end another second is all the same.
            until = max(0.0, wait.until - self.world.clock.now)
        flags = (wait.posted, wait.delivered) if wait is not None else None
        return self.stage, self.visits, self.may_leave, self.dead, until, flags

    def dispose(self) -> None:
        self._program.close()
