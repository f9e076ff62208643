"""Requests as steps: each says what it waits for, and threads and tasks wait for it in their way.

A step is a function that blocks: a `Wait` for a socket or a turn, or whatever can only be done in a
thread. Nothing else here or in what yields steps waits, so tasks go through the same code.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable, Generator
from functools import partial
from time import monotonic
from typing import Any, Protocol, TypeAlias, TypeVar

from .._hosts import finish
from .._key import new_key
from ..distributed._alarms import alarms_of
from ..distributed._calls import in_worker_thread
from ._spin import spin, spin_in_task

__all__ = [
    "SLICE",
    "Patience",
    "Spin",
    "Steps",
    "Turn",
    "Unanswered",
    "Wanted",
    "Wire",
    "in_task",
    "in_thread",
]

T = TypeVar("T")

SLICE = 0.05
"""Seconds after which a wait looks whether it is still wanted."""

PAUSE = 0.005
"""Seconds between two looks at what tells nobody when it comes."""


class Unanswered(Exception):
    """The answer has not come in time. It is still due: the next one read is this one."""


class Awaited(Protocol):
    """What can be waited for."""

    def wait(self, seconds: float) -> bool:
        """Wait for some seconds; return whether it has come."""
        ...

    async def wait_in_task(self, seconds: float) -> bool:
        """Do so in a task of asyncio."""
        ...


class Wait:
    """A step: to wait for something for some seconds. The answer is whether it has come."""

    __slots__ = ("awaited", "seconds")

    def __init__(self, awaited: Awaited, seconds: float) -> None:
        self.awaited = awaited
        self.seconds = seconds

    def __call__(self) -> bool:
        return self.awaited.wait(self.seconds)


Steps: TypeAlias = Generator[Wait | Callable[[], Any], Any, T]
"""A request: it yields its steps, is sent their answers, and returns its own."""


class Wanted:
    """Something that answers are waited for, until it is unwanted."""

    def __init__(self) -> None:
        self.is_unwanted = False
        """Whether nobody waits any more for what is under way."""


class Patience:
    """How long to wait: until a time of `time.monotonic`, or until the answer is unwanted."""

    __slots__ = ("_wanted", "until")

    def __init__(self, until: float, wanted: Wanted) -> None:
        self.until = until
        self._wanted = wanted

    def left(self) -> float:
        """Return how many seconds are left; raise `Unanswered` if it is over."""
        if self._wanted.is_unwanted:
            raise Unanswered("it was given up, for a release or the end")
        left = self.until - monotonic()
        if left <= 0:
            raise Unanswered
        return left

    def share(self, parts: int) -> Patience:
        """Return one part of what is left."""
        return Patience(monotonic() + self.left() / parts, self._wanted)

    def wait(self, awaited: Awaited) -> Steps[None]:
        """Wait for something; raise `Unanswered` if it is over."""
        while not (yield self.a_while(awaited)):
            pass

    def a_while(self, awaited: Awaited) -> Wait:
        """Return the step to wait for something for a while; raise `Unanswered` if it is over."""
        return Wait(awaited, min(self.left(), SLICE))


class Wire:
    """That a socket can be read, or also written with `write`."""

    __slots__ = ("_fileno", "_poll", "_write")

    def __init__(self, fileno: int, *, write: bool = False) -> None:
        self._fileno = fileno
        self._write = write
        self._poll = poller(fileno, write)

    def wait(self, seconds: float) -> bool:
        """Wait for some seconds; return whether it is so."""
        return bool(self._poll(seconds * 1000))

    async def wait_in_task(self, seconds: float) -> bool:
        """Do so in a task of asyncio."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[bool] = loop.create_future()
        try:
            loop.add_reader(self._fileno, finish, ready, True)
        except NotImplementedError:  # by the event loop that is the default on Windows
            another = Wire(self._fileno, write=self._write)  # one thread at a time can use one
            return await in_worker_thread(partial(another.wait, seconds))
        alarm = alarms_of(loop).call_later(seconds, partial(finish, ready, False))
        if self._write:
            loop.add_writer(self._fileno, finish, ready, True)
        try:
            return await ready
        finally:
            alarm.cancel()
            if not loop.is_closed():
                loop.remove_reader(self._fileno)
                if self._write:
                    loop.remove_writer(self._fileno)


class Spin:
    """What a wire waits for, looked at again and again for a moment: see `_spin`."""

    __slots__ = ("_can_read",)

    def __init__(self, wire: Wire) -> None:
        self._can_read = partial(wire.wait, 0.0)

    def wait(self, seconds: float) -> bool:
        """Spin, for some seconds at the most; return whether it is so."""
        return spin(self._can_read, seconds)

    async def wait_in_task(self, seconds: float) -> bool:
        """Do so in a task of asyncio."""
        return await spin_in_task(self._can_read, seconds)


class Turn:
    """What one at a time has. To take it is ``del turn.key[0]``, see `_key`: no call is made."""

    __slots__ = ("key",)

    def __init__(self) -> None:
        self.key = new_key()

    def wait(self, seconds: float) -> bool:
        """Wait a moment, of some seconds at the most; return whether it is free."""
        if not self.key:
            time.sleep(min(seconds, PAUSE))
        return bool(self.key)

    async def wait_in_task(self, seconds: float) -> bool:
        """Do so in a task."""
        if not self.key:
            await asyncio.sleep(min(seconds, PAUSE))
        return bool(self.key)


def in_thread(steps: Steps[T]) -> T:
    """Take all steps in this thread; return what they come to."""
    try:
        step = next(steps)
        while True:
            try:
                answer = step()
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        steps.close()


async def in_task(steps: Steps[T]) -> T:
    """Take all steps in this task of asyncio. If it is cancelled the steps end where they are."""
    try:
        step = next(steps)
        while True:
            try:
                if isinstance(step, Wait):
                    answer = await step.awaited.wait_in_task(step.seconds)
                else:
                    answer = await in_worker_thread(step)
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        steps.close()


def poller(fileno: int, write: bool) -> Callable[[float], object]:
    """Return what waits for a socket for some milliseconds, and returns something if it is so."""
    if not hasattr(select, "poll"):
        writers = [fileno] if write else []
        return lambda milliseconds: any(select.select([fileno], writers, [], milliseconds / 1000))
    poll = select.poll()
    poll.register(fileno, select.POLLIN | (select.POLLOUT if write else 0))
    return poll.poll
