"""Hosts: what runs a waiter, how it naps, and how it is woken from any thread.

asyncio is native: its paths call nothing but asyncio. trio is imported only where it runs already.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import _get_running_loop
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

from anyio import TaskInfo

from ._asyncio import AsyncioWaiter
from ._thread import ThreadWaiter

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from trio.lowlevel import Task as TrioTask

    from ._trio import TrioWaiter

__all__ = [
    "Task",
    "TaskWaiter",
    "ThreadWaiter",
    "checkpoint",
    "current_task",
    "has_ended",
    "in_event_loop",
    "in_loop_of",
    "task_info",
    "task_name",
    "task_waiter",
]

Task: TypeAlias = "asyncio.Task[Any] | TrioTask"
TaskWaiter: TypeAlias = "AsyncioWaiter | TrioWaiter"


def current_task() -> Task:
    """Return the running task, asyncio's or trio's; RuntimeError outside of any."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is not None:
        return task
    # trio may still be running, alone or as a guest of asyncio's loop.
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        trio_task: TrioTask = trio.lowlevel.current_task()
        return trio_task
    raise RuntimeError("call this in a task of asyncio or trio; threads need a ThreadBackoffLock")


def _is_trio(task: Task) -> TypeGuard[TrioTask]:
    trio = sys.modules.get("trio")
    return trio is not None and isinstance(task, trio.lowlevel.Task)


def task_waiter(task: Task) -> TaskWaiter:
    """Return a new waiter for `task`, which is the running one."""
    if _is_trio(task):
        from ._trio import TrioWaiter

        return TrioWaiter(task)
    return AsyncioWaiter(task)  # type: ignore[arg-type]  # a TypeGuard does not narrow the rest


async def checkpoint(task: Task) -> None:
    """Pass a checkpoint where the library of `task` expects one of every call: in trio."""
    if _is_trio(task):
        await sys.modules["trio"].lowlevel.checkpoint()


def task_name(task: Task) -> str:
    """Return the name of a task."""
    return task.name if _is_trio(task) else task.get_name()  # type: ignore[union-attr]


def task_info(task: Task) -> TaskInfo:
    """Return anyio's description of a task, equal to what ``anyio.get_current_task()`` gives it."""
    if _is_trio(task):
        return TaskInfo(id(task), None, task.name, task.coro)
    asyncio_task = cast("asyncio.Task[Any]", task)
    coro = cast("Coroutine[Any, Any, Any]", asyncio_task.get_coro())
    return TaskInfo(id(task), None, asyncio_task.get_name(), coro)


def has_ended(task: Task) -> bool:
    """Return whether `task` will never run again: finished, or its loop closed."""
    if _is_trio(task):
        return getattr(task.coro, "cr_frame", None) is None
    return task.done() or task.get_loop().is_closed()  # type: ignore[union-attr]


def in_event_loop() -> bool:
    """Return whether this thread is running an event loop, which blocking it would stall."""
    trio = sys.modules.get("trio")
    return _get_running_loop() is not None or (trio is not None and trio.lowlevel.in_trio_run())


def in_loop_of(task: Task) -> bool:
    """Return whether this thread is running the very loop that `task` lives on."""
    if not _is_trio(task):
        return _get_running_loop() is task.get_loop()  # type: ignore[union-attr]
    lowlevel = sys.modules["trio"].lowlevel
    if not lowlevel.in_trio_run():
        return False
    ancestor: TrioTask = task
    while (nursery := ancestor.parent_nursery) is not None:
        ancestor = nursery.parent_task
    return ancestor is lowlevel.current_root_task()
