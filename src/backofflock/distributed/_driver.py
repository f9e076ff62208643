"""Doing what a policy asks for, in tasks and in threads; and giving a token back for certain."""

from __future__ import annotations

import asyncio
import time
from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio

from .._hosts import running_asyncio_task
from ..errors import BackendRefused, BackendUnavailable
from ..leases import AsyncBackend, Backend, clock
from ..schedules import Exponential
from ._policy import Ask, Nap, Steps
from ._within import within

__all__ = ["drive", "drive_in_thread", "give_back", "give_back_in_thread", "see_through"]

T = TypeVar("T")

RELEASE_RETRIES = Exponential(initial=0.02, cap=0.5, jitter=0.5)
"""Delays between requests to release while the backend does not answer."""


AGAIN = 3
"""How often a task is begun anew that somebody cancelled who cancels all tasks of a loop."""


async def drive(
    steps: Steps, step: Ask | Nap, calls: AsyncBackend, name: str, token: str, ttl: float
) -> Any:
    """Do what a policy asks for, from `step` on; return what it returns."""
    try:
        while True:
            try:
                answer: object = None
                if isinstance(step, Nap):
                    await anyio.sleep(step.seconds)
                else:
                    answer = await _ask(step, calls, name, token, ttl)
            except BackendUnavailable as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        return done.value
    finally:
        steps.close()


async def _ask(step: Ask, calls: AsyncBackend, name: str, token: str, ttl: float) -> object:
    call = calls.renew if step.call == "renew" else calls.try_acquire
    try:
        return await within(step.within, call(name, token, ttl))
    except TimeoutError:
        text = f"no answer within {step.within:.3g} s"
        raise BackendUnavailable(str(calls), step.call, text) from None


async def give_back(
    calls: AsyncBackend, name: str, token: str, seconds: float
) -> tuple[bool | None, int]:
    """Release a token; try again for some seconds at the most while the backend does not answer.

    Returns whether the token had the lock, None where the backend never said, and how many requests
    were left unanswered.
    """
    unanswered = 0
    until = clock() + seconds
    delays = RELEASE_RETRIES.delays()
    while True:
        try:
            return await within(until - clock(), calls.release(name, token)), unanswered
        except (BackendUnavailable, BackendRefused, TimeoutError) as error:
            unanswered += 1
            delay = next(delays)
            if isinstance(error, BackendRefused) or clock() + delay >= until:
                return None, unanswered
        await anyio.sleep(delay)


async def see_through(act: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await what must be done, however often this task is cancelled meanwhile; then raise that."""
    if running_asyncio_task() is None:
        with anyio.CancelScope(shield=True):
            return await act()
    cancelled: CancelledError | None = None
    left = AGAIN
    task = asyncio.create_task(act())
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except CancelledError as error:  # asyncio's own cancel goes through anyio's shield
                cancelled = error
            if task.cancelled() and left:
                left -= 1
                task = asyncio.create_task(act())
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # it stands back behind the cancel
    try:
        raise cancelled
    finally:
        del cancelled  # it refers to this frame


def drive_in_thread(
    steps: Steps,
    step: Ask | Nap,
    backend: Backend,
    name: str,
    token: str,
    ttl: float,
    sleep: Callable[[float], object] = time.sleep,
) -> Any:
    """Do what a policy asks for in a thread; `sleep` returns something true to end it, with None.

    How long a request takes is up to the backend's client: a thread cannot be called back from one.
    """
    try:
        while True:
            try:
                answer: object = None
                if isinstance(step, Nap):
                    if sleep(step.seconds):
                        return None
                elif step.call == "renew":
                    answer = backend.renew(name, token, ttl)
                else:
                    answer = backend.try_acquire(name, token, ttl)
            except BackendUnavailable as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        return done.value
    finally:
        steps.close()


def give_back_in_thread(
    backend: Backend, name: str, token: str, seconds: float
) -> tuple[bool | None, int]:
    """Do what `give_back` does, in a thread."""
    unanswered = 0
    until = clock() + seconds
    delays = RELEASE_RETRIES.delays()
    while True:
        try:
            return backend.release(name, token), unanswered
        except (BackendUnavailable, BackendRefused) as error:
            unanswered += 1
            delay = next(delays)
            if isinstance(error, BackendRefused) or clock() + delay >= until:
                return None, unanswered
        time.sleep(delay)
