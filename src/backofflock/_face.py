"""What both faces share: construction, waiting in a task, and what can be asked of a lock."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from enum import Enum
from logging import DEBUG
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from ._checks import Duration, attempts_limit, limit
from ._contention import Check, Contention, Limits, Observer
from ._done import DONE
from ._hosts import (
    Alarms,
    Task,
    TaskWaiter,
    current_task,
    task_info,
    trio_task_and_checkpoint,
    trio_waiter,
)
from ._key import KEY, ForeignKey, ForeignLock, Key, new_key, reinit_after_fork
from ._naps import NAPS
from ._observers import is_logged, observer
from ._waiter import NEVER, Pledge
from .records import LockStatistics, WaitDetails
from .schedules import DEFAULT_SCHEDULE, POLLING_SCHEDULE, Rng, Schedule

__all__ = ["DEFAULT", "Default", "Face", "chosen_limits", "refuse_unfit"]


class Default(Enum):
    """The value of an argument that was not given."""

    DEFAULT = "default"

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = Default.DEFAULT


def refuse_unfit(schedule: object, on_wait: object, rng: object) -> None:
    """Raise TypeError for a schedule, a hook or a source of randomness that is none."""
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a Schedule such as Linear(0.01), not {schedule!r}")
    if on_wait is not None and (not callable(on_wait) or inspect.iscoroutinefunction(on_wait)):
        raise TypeError(f"on_wait must be a plain function of one argument, not {on_wait!r}")
    if rng is not None and not callable(getattr(rng, "random", None)):
        raise TypeError(f"rng must have a method random(), as random.Random has, not {rng!r}")


def chosen_limits(
    default: Limits, timeout: Duration | Default | None, max_attempts: int | Default | None
) -> Limits:
    """Return the limits that were given, and for those that were not the default's."""
    seconds, tries = default
    return (
        seconds if timeout is DEFAULT else limit("timeout", timeout),
        tries if max_attempts is DEFAULT else attempts_limit("max_attempts", max_attempts),
    )


class Face(ABC):
    """A lock that tries, backs off and tries again; the base of both faces."""

    __slots__ = (
        "__weakref__",
        "_alarms",
        "_contention",
        "_default_limits",
        "_key",
        "_name",
        "_on_wait",
        "_owner",
        "_queue",
        "_released_by_hand",
        "_thread_window",
        "_window",
    )

    _WINDOW: ClassVar[float] = 0.0
    """Seconds for which a task may be overtaken, and overtake, by default."""
    _THREAD_WINDOW: ClassVar[float] = 0.0
    """The same for threads."""

    def __init__(
        self,
        schedule: Schedule | Default = DEFAULT,
        *,
        over: ForeignLock | None = None,
        timeout: Duration | None = None,
        max_attempts: int | None = None,
        fair_after: Duration | Default | None = DEFAULT,
        wake_on_release: bool = True,
        name: str | None = None,
        on_wait: Callable[[WaitDetails], object] | None = None,
        rng: Rng | None = None,
    ) -> None:
        if schedule is DEFAULT:
            wakes = wake_on_release and over is None
            schedule = DEFAULT_SCHEDULE if wakes else POLLING_SCHEDULE
        if not isinstance(wake_on_release, bool):
            raise TypeError(f"wake_on_release must be True or False, not {wake_on_release!r}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str or None, not {name!r}")
        refuse_unfit(schedule, on_wait, rng)
        self._default_limits = chosen_limits((None, None), timeout, max_attempts)
        self._name = name
        self._on_wait = on_wait
        self._owner: Task | None = None
        self._released_by_hand = False  # once true it stays true
        key: Key = new_key() if over is None else ForeignKey(over)
        self._key = key
        self._window, self._thread_window = self._WINDOW, self._THREAD_WINDOW
        if fair_after is not DEFAULT:
            seconds = limit("fair_after", fair_after)
            self._window = self._thread_window = NEVER if seconds is None else seconds
        self._contention = Contention(
            key,
            name if name is not None else f"{type(self).__name__} at {id(self):#x}",
            schedule,
            rng=rng,
            wake_on_release=wake_on_release,
            check=self._check(),
            name=name,
            face=type(self).__name__,
        )
        self._queue = self._contention.queue
        self._alarms = Alarms(self._queue)

    # -- in a task ---------------------------------------------------------------------------------

    # No coroutine, and so done when it is called: see _done.
    def _enter(
        self, limits: Limits | None = None, observe: Observer | None = None
    ) -> Coroutine[Any, Any, None]:
        try:
            task = current_task()
        except RuntimeError:
            task = None
        if task is None:
            return self._enter_in_trio(limits or self._default_limits, observe)
        if not self._queue:
            try:
                del self._key[0]
            except IndexError:
                pass
            else:
                self._owner = task
                return DONE
        return self._wait(None, limits or self._default_limits, observe)

    if TYPE_CHECKING:

        async def __aenter__(self) -> None: ...

    else:
        __aenter__ = _enter

    async def _enter_in_trio(self, limits: Limits, observe: Observer | None) -> None:
        task, checkpoint = trio_task_and_checkpoint()
        await checkpoint
        if self._contention.try_take(None, None, self._window):
            self._owner = task
        else:
            await self._wait(self._waiter(task), limits, observe)

    async def _wait(
        self, waiter: TaskWaiter | None, limits: Limits, observe: Observer | None
    ) -> None:
        # Each variable more would take a waiter 1 or 2 % more memory.
        if waiter is None:
            task: Any = current_task()  # another may have called for this coroutine
            waiter = self._alarms[task.get_loop()].new_waiter(task, self._window)
        if observe is None:
            observe = self._on_wait
            # As observer() does: a call less for each wait.
            if NAPS.observers or is_logged(DEBUG):
                observe = observer(observe)
        policy = self._contention.contend(waiter, limits, observe)
        try:
            for seconds in policy:
                await waiter.nap(seconds)
        except BaseException:
            self._contention.abandon(policy, waiter)
            raise
        self._owner = waiter.task

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        # The context manager is proof of who owns the lock, unless its body may have released it.
        if self._released_by_hand:
            self.release()
            return DONE
        self._owner = None
        self._key.append(KEY)
        if self._queue:
            self._contention.wake_next()
        return DONE

    def _waiter(self, task: Task, steps: bool = False) -> TaskWaiter:
        """Return a new waiter for the running task; `steps`: its own code decides when to try."""
        if not isinstance(task, asyncio.Task):
            return trio_waiter(task, self._window)
        waiter = self._alarms[task.get_loop()].new_waiter(task, self._window)
        if steps:
            waiter.pledge = Pledge()
        return waiter

    def _check(self) -> Check | None:
        """Return what raises if what this face knows of the holder makes waiting hopeless."""
        return None

    # -- for tasks and threads ---------------------------------------------------------------------

    @abstractmethod
    def release(self) -> None:
        """Put the key back and wake the next waiter."""

    def _limits(
        self, timeout: Duration | Default | None, max_attempts: int | Default | None
    ) -> Limits:
        """Return the limits of one acquisition: those given, else the constructor's."""
        return chosen_limits(self._default_limits, timeout, max_attempts)

    def _give_back(self) -> None:
        """Release the held lock, whoever asks."""
        self._owner = None  # before the key is back: from then on it is the next holder's to write
        self._key.append(KEY)
        if self._queue:
            self._contention.wake_next()

    @property
    def name(self) -> str | None:
        """The name given to the constructor."""
        return self._name

    def locked(self) -> bool:
        """Return whether somebody holds the lock; it may have changed when you look.

        Over a foreign lock without a ``locked()`` of its own, that lock is taken for a moment to
        find out.
        """
        return not len(self._key)

    def statistics(self) -> LockStatistics:
        """Return a snapshot of the lock and what contention has cost; see `LockStatistics`.

        >>> from backofflock import ThreadBackoffLock
        >>> lock = ThreadBackoffLock()
        >>> with lock:
        ...     lock.statistics().locked
        True
        >>> lock.statistics().contended
        0
        """
        machine, owner = self._contention, self._owner
        return LockStatistics(
            locked=self.locked(),
            owner=None if owner is None else task_info(owner),
            tasks_waiting=len(machine.queue),
            contended=machine.contended,
            attempts=machine.tries,
            wakeups=machine.wakeups,
            timeouts=machine.timeouts,
            cancellations=machine.cancellations,
            total_wait=machine.total_wait,
            longest_wait=machine.longest_wait,
        )

    def __repr__(self) -> str:
        kind = type(self)
        label = "object" if self._name is None else repr(self._name)
        return (
            f"<{'locked' if self.locked() else 'unlocked'} "
            f"{kind.__module__}.{kind.__qualname__} {label} at {id(self):#x}>"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle or copy a {type(self).__name__}: its waiters live here")

    def _at_fork_reinit(self) -> None:
        """Free the lock and empty its queue in a forked child, as `threading.Lock` has it."""
        self._contention.reinit_after_fork()
        self._alarms.clear()
        self._owner = None
        reinit_after_fork(self._key)
