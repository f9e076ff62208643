"""Those who contend: one step of a thread, one step of a task, and the lives made of them."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence

import trio

from backofflock import AcquireTimeout, ThreadBackoffLock, WouldBlock

from .desks import Desk, Site, Thrown
from .programs import Disturbance, Step

__all__ = [
    "OWNED_VERBS",
    "SHARED_VERBS",
    "THREAD_VERBS",
    "AsyncioActor",
    "TaskActor",
    "TrioActor",
    "disturb",
    "live_in_thread",
]

THREAD_VERBS = ("with", "acquire", "acquire_nowait", "attempts")
SHARED_VERBS = ("async with", "acquire_async", "acquire_nowait", "attempts")
OWNED_VERBS = ("async with", "acquire", "acquire_nowait", "attempts")

PATIENCE = 0.0001
"""Seconds by which somebody who asks again and again waits longer each time."""

Over = Callable[[], bool]
Sleep = Callable[[float], Awaitable[object]]


# -- threads ---------------------------------------------------------------------------------------


def thread_step(site: Site, desk: Desk, step: Step) -> None:
    """Ask for the lock as the step says; inside, look around."""
    lock, asked = site.lock, time.monotonic()
    assert isinstance(lock, ThreadBackoffLock)
    if step.verb == "with":
        with lock, desk.visit(site, step.verb, asked):
            _linger(step)
    elif step.verb == "acquire":
        if not lock.acquire(timeout=-1 if step.limit is None else step.limit):
            desk.events["timeouts"] += 1
            return
        try:
            with desk.visit(site, step.verb, asked):
                _linger(step)
        finally:
            lock.release()
    elif step.verb == "acquire_nowait":
        for turn in range(step.tries):
            try:
                lock.acquire_nowait()
            except WouldBlock:
                time.sleep(turn * PATIENCE)
                continue
            try:
                with desk.visit(site, step.verb, asked):
                    _linger(step)
            finally:
                lock.release()
            return
        desk.events["refusals"] += 1
    else:
        for attempt in lock.attempts(timeout=step.limit):
            if attempt:
                with attempt, desk.visit(site, step.verb, asked):
                    _linger(step)
            elif attempt.number >= step.tries:
                desk.events["left early"] += 1
                break


def _linger(step: Step) -> None:
    if step.hold:
        time.sleep(step.hold)
    if step.fails:
        raise Thrown


def live_in_thread(site: Site, desk: Desk, program: Iterator[Step], over: Over) -> None:
    """Perform a program until it is over."""
    for step in program:
        if over():
            return
        try:
            thread_step(site, desk, step)
        except Exception as error:
            settle(desk, step, error)
        time.sleep(step.pause)


def settle(desk: Desk, step: Step, error: BaseException | None) -> None:
    """Note how a step ended."""
    if isinstance(error, AcquireTimeout):
        desk.events["timeouts"] += 1
    elif isinstance(error, Thrown):
        desk.events["errors inside"] += 1
    elif error is not None:
        desk.went_wrong(error, step.verb)


# -- tasks -----------------------------------------------------------------------------------------


async def task_step(site: Site, desk: Desk, step: Step, sleep: Sleep) -> None:
    """Ask for the lock as the step says; inside, look around."""
    lock, asked = site.lock, time.monotonic()
    if step.verb == "async with":
        async with lock:
            with desk.visit(site, step.verb, asked):
                await _linger_in_task(step, sleep)
    elif step.verb in ("acquire", "acquire_async"):
        if isinstance(lock, ThreadBackoffLock):
            await lock.acquire_async(timeout=step.limit)
        else:
            await lock.acquire(timeout=step.limit)
        try:
            with desk.visit(site, step.verb, asked):
                await _linger_in_task(step, sleep)
        finally:
            lock.release()
    elif step.verb == "acquire_nowait":
        for turn in range(step.tries):
            try:
                lock.acquire_nowait()
            except WouldBlock:
                await sleep(turn * PATIENCE)
                continue
            try:
                with desk.visit(site, step.verb, asked):
                    await _linger_in_task(step, sleep)
            finally:
                lock.release()
            return
        desk.events["refusals"] += 1
    else:
        async for attempt in lock.attempts(timeout=step.limit):
            if attempt:
                async with attempt:
                    with desk.visit(site, step.verb, asked):
                        await _linger_in_task(step, sleep)
            elif attempt.number >= step.tries:
                desk.events["left early"] += 1
                break


async def _linger_in_task(step: Step, sleep: Sleep) -> None:
    if step.hold:
        await sleep(step.hold)
    if step.fails:
        raise Thrown


class TaskActor(ABC):
    """One who lives on an event loop, step by step, and can be cancelled in the middle of one."""

    def __init__(self, site: Site, desk: Desk, program: Iterator[Step], over: Over) -> None:
        self._site, self._desk, self._program, self._over = site, desk, program, over
        self.name = desk.actor

    @abstractmethod
    async def live(self) -> None:
        """Perform the program until it is over."""

    @abstractmethod
    def cancel(self) -> None:
        """Cancel the step that it is at, on its own loop."""


class AsyncioActor(TaskActor):
    """Each step is a task of its own, which owns the lock, is cancelled, and ends."""

    _task: asyncio.Task[None] | None = None

    async def live(self) -> None:
        for step in self._program:
            if self._over():
                return
            task = self._task = asyncio.create_task(self._perform(step), name=self.name)
            await asyncio.wait([task])
            if task.cancelled():
                self._desk.events["cancels"] += 1
            else:
                settle(self._desk, step, task.exception())
            await asyncio.sleep(step.pause)

    async def _perform(self, step: Step) -> None:
        if step.limit is None or step.verb != "async with":
            await task_step(self._site, self._desk, step, asyncio.sleep)
            return
        try:
            async with asyncio.timeout(step.limit):  # a limit from outside, which cancels
                await task_step(self._site, self._desk, step, asyncio.sleep)
        except TimeoutError:
            self._desk.events["timeouts"] += 1

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class TrioActor(TaskActor):
    """One task for all steps, each in a cancel scope of its own."""

    _scope: trio.CancelScope | None = None

    async def live(self) -> None:
        for step in self._program:
            if self._over():
                return
            with trio.CancelScope() as self._scope:
                try:
                    await self._perform(step)
                except Exception as error:
                    settle(self._desk, step, error)
            if self._scope.cancelled_caught:
                self._desk.events["cancels"] += 1
            await trio.sleep(step.pause)

    async def _perform(self, step: Step) -> None:
        limit = step.limit if step.verb == "async with" else None
        with trio.CancelScope() as scope:
            if limit is not None:
                scope.deadline = trio.current_time() + limit
            await task_step(self._site, self._desk, step, trio.sleep)
        if scope.cancelled_caught:
            self._desk.events["timeouts"] += 1

    def cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()


async def disturb(
    actors: Sequence[TaskActor],
    desk: Desk,
    program: Iterator[Disturbance],
    sleep: Sleep,
    over: Over,
) -> None:
    """Cancel actors of this loop, and block it, until it is over."""
    for what in program:
        await sleep(what.pause)
        if over():
            return
        if what.blocks:
            time.sleep(what.seconds)  # noqa: ASYNC251 - that is the disturbance
            desk.events["blocked loops"] += 1
        else:
            actors[int(what.who * len(actors))].cancel()
