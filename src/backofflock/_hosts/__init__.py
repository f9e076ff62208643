"""Hosts: what runs a waiter, how it naps, and how it is woken from any thread.

asyncio is native: its paths call nothing but asyncio. trio is imported only where it runs already.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import _get_running_loop
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeAlias

from anyio import TaskInfo

from ._asyncio import Alarm, Alarms, AsyncioWaiter, current_task, finish
from ._thread import ThreadWaiter, give_way

if TYPE_CHECKING:
    from trio.lowlevel import Task as TrioTask

    from ._trio import TrioWaiter

__all__ = [
    "Alarm",
    "Alarms",
    "AsyncioWaiter",
    "Task",
    "TaskWaiter",
    "ThreadWaiter",
    "current_task",
    "finish",
    "give_way",
    "has_ended",
    "in_event_loop",
    "in_loop_of",
    "running_asyncio_task",
    "running_task",
    "running_trio_task",
    "task_info",
    "task_name",
    "trio_task_and_checkpoint",
    "trio_waiter",
]

Task: TypeAlias = "asyncio.Task[Any] | TrioTask"
TaskWaiter: TypeAlias = "AsyncioWaiter | TrioWaiter"

_NO_TASK = (KeyError, AttributeError, RuntimeError)
"""Raised if trio is not imported, only just being imported, or does not run here."""
_NO_TASK_HERE = "call this in a task of asyncio or trio; a thread has ThreadBackoffLock"


def running_asyncio_task() -> asyncio.Task[Any] | None:
    """Return the running task of asyncio, or None where there is none."""
    try:
        return current_task()
    except RuntimeError:
        return None


def running_trio_task() -> TrioTask:
    """Return the running task of trio; RuntimeError outside of any.

    Without a task of asyncio it is trio that runs, alone or as a guest of asyncio's loop.
    """
    try:
        task: TrioTask = sys.modules["trio"].lowlevel.current_task()
    except _NO_TASK:
        raise RuntimeError(_NO_TASK_HERE) from None
    return task


def trio_task_and_checkpoint() -> tuple[TrioTask, Awaitable[None]]:
    """Return the running task of trio, and what it is to await in every call that may wait.

    RuntimeError outside of any.
    """
    try:
        lowlevel = sys.modules["trio"].lowlevel
        return lowlevel.current_task(), lowlevel.checkpoint()
    except _NO_TASK:
        raise RuntimeError(_NO_TASK_HERE) from None


def running_task() -> Task:
    """Return the running task, asyncio's or trio's; RuntimeError outside of any."""
    return running_asyncio_task() or running_trio_task()


def trio_waiter(task: TrioTask, window: float) -> TrioWaiter:
    """Return a new waiter for `task`, the running one of trio."""
    from ._trio import TrioWaiter

    return TrioWaiter(task, window)


def task_name(task: Task) -> str:
    """Return the name of a task."""
    return task.get_name() if isinstance(task, asyncio.Task) else task.name


def task_info(task: Task) -> TaskInfo:
    """Return anyio's description of a task, equal to what ``anyio.get_current_task()`` gives it."""
    if isinstance(task, asyncio.Task):
        # Of an eager task that has ended, CPython 3.12 before 3.12.3 crashes on this question.
        coro: Any = None if task.done() else task.get_coro()
    else:
        coro = task.coro
    return TaskInfo(id(task), None, task_name(task), coro)


def has_ended(task: Task) -> bool:
    """Return whether `task` will never run again: finished, or its loop closed."""
    if isinstance(task, asyncio.Task):
        return task.done() or task.get_loop().is_closed()
    # Not by its frame: to ask for that of a coroutine that runs in another thread is unsafe without
    # the GIL (python/cpython#144446). Most that live say so themselves, which is cheaper.
    coro, nursery = task.coro, task.parent_nursery
    if getattr(coro, "cr_suspended", False) or getattr(coro, "cr_running", False):
        return False
    return nursery is None or task not in nursery.child_tasks


def in_event_loop() -> bool:
    """Return whether this thread is running an event loop, which blocking it would stall.

    Of trio's it asks sniffio, whom trio tells as long as it runs: trio itself would look for what
    is not there, and fail, in each thread that waits.
    """
    if _get_running_loop() is not None:
        return True
    library = getattr(sys.modules.get("sniffio"), "thread_local", None)
    return getattr(library, "name", None) == "trio"


def in_loop_of(task: Task) -> bool:
    """Return whether this thread is running the very loop that `task` lives on."""
    if isinstance(task, asyncio.Task):
        return _get_running_loop() is task.get_loop()
    lowlevel = sys.modules["trio"].lowlevel
    if not lowlevel.in_trio_run():
        return False
    ancestor: TrioTask = task
    while (nursery := ancestor.parent_nursery) is not None:
        ancestor = nursery.parent_task
    return ancestor is lowlevel.current_root_task()
