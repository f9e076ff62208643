"""The worlds of tasks: asyncio's, trio's and anyio's, each by its own means."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.abc
import trio

from .worlds import Contestant, Failure, Handle, World

T = TypeVar("T")


class AsyncioWorld(World):
    """Contestants are tasks of the loop that makes this world."""

    def __init__(self, patience: float) -> None:
        super().__init__(patience)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._tasks: set[asyncio.Task[Any]] = set()  # the loop itself refers to them weakly

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def spawn(self, contestant: Contestant[T], name: str | None = None) -> Handle[T]:
        handle: Handle[T] = Handle(name or contestant.__name__)
        if threading.get_ident() == self._thread:
            self._start(handle, contestant)
        else:
            self._loop.call_soon_threadsafe(self._start, handle, contestant)
        return handle

    def _start(self, handle: Handle[T], contestant: Contestant[T]) -> None:
        task = self._loop.create_task(self._perform(handle, contestant), name=handle.name)
        self._tasks.add(task)
        task.add_done_callback(partial(self._settle, handle))
        handle._cancel = partial(self._cancel, task)

    async def _perform(self, handle: Handle[T], contestant: Contestant[T]) -> T:
        # The loop gives an eager task its name only after its first step.
        current = asyncio.current_task()
        assert current is not None
        current.set_name(handle.name)
        return await contestant(self)

    def _settle(self, handle: Handle[T], task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        handle.cancelled = task.cancelled()
        if not handle.cancelled:
            handle.error = task.exception()
            if handle.error is None:
                handle._result = task.result()
        handle.done = True

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        if threading.get_ident() == self._thread:
            task.cancel()
        else:
            self._loop.call_soon_threadsafe(task.cancel)

    def call_soon(self, call: Callable[[], object]) -> None:
        """Let the loop make a call, from any thread."""
        self._loop.call_soon_threadsafe(call)


class TrioWorld(World):
    """Contestants are tasks of a nursery, each in a cancel scope of its own."""

    def __init__(self, patience: float, nursery: trio.Nursery) -> None:
        super().__init__(patience)
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def spawn(self, contestant: Contestant[T], name: str | None = None) -> Handle[T]:
        handle: Handle[T] = Handle(name or contestant.__name__)
        if threading.get_ident() == self._thread:
            self._start(handle, contestant)
        else:
            self._token.run_sync_soon(self._start, handle, contestant)
        return handle

    def _start(self, handle: Handle[T], contestant: Contestant[T]) -> None:
        scope = trio.CancelScope()
        handle._cancel = partial(self._cancel, scope)
        self._nursery.start_soon(self._perform, handle, scope, contestant, name=handle.name)

    def _cancel(self, scope: trio.CancelScope) -> None:
        if threading.get_ident() == self._thread:
            scope.cancel()
        else:
            self._token.run_sync_soon(scope.cancel)

    async def _perform(
        self, handle: Handle[T], scope: trio.CancelScope, contestant: Contestant[T]
    ) -> None:
        try:
            with scope:
                handle._result = await contestant(self)
        except Failure as error:
            handle.error = error
        finally:
            handle.cancelled = scope.cancelled_caught
            handle.done = True

    def call_soon(self, call: Callable[[], object]) -> None:
        """Let the loop make a call, from any thread."""
        self._token.run_sync_soon(call)


class AnyioWorld(World):
    """Contestants are tasks of an anyio task group, each in a cancel scope of its own."""

    def __init__(self, patience: float, group: anyio.abc.TaskGroup) -> None:
        super().__init__(patience)
        self._group = group

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def spawn(self, contestant: Contestant[T], name: str | None = None) -> Handle[T]:
        handle: Handle[T] = Handle(name or contestant.__name__)
        scope = anyio.CancelScope()
        handle._cancel = scope.cancel
        self._group.start_soon(self._perform, handle, scope, contestant, name=handle.name)
        return handle

    async def _perform(
        self, handle: Handle[T], scope: anyio.CancelScope, contestant: Contestant[T]
    ) -> None:
        try:
            with scope:
                handle._result = await contestant(self)
        except Failure as error:
            handle.error = error
        finally:
            handle.cancelled = scope.cancelled_caught
            handle.done = True
