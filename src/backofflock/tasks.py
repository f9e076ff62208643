"""`BackoffLock`: the face for tasks."""

from __future__ import annotations

from typing import cast

from ._attempts import Attempts
from ._checks import Duration
from ._contention import Check
from ._face import DEFAULT, Default, Face
from ._hosts import (
    TaskWaiter,
    has_ended,
    running_task,
    task_name,
)
from ._waiter import Waiter
from .errors import OwnerDied, WouldBlock

__all__ = ["BackoffLock"]


class BackoffLock(Face):
    """A lock for tasks of asyncio, trio and anyio that knows its owner.

    Create it anywhere, at import time too, and use it from any loop, library or thread: tasks of
    several loops exclude each other. It keeps the rules of `anyio.Lock` and `trio.Lock` and can
    stand in for them.

    >>> import asyncio
    >>> lock = BackoffLock()
    >>> async def main():
    ...     async with lock:
    ...         return lock.locked()
    >>> asyncio.run(main()), lock.locked()
    (True, False)

    When to use it: where the holder may be on another loop or thread (``over=``), where you want
    time limits, back-off or a look at who waits. When not: on a single loop with none of these
    `asyncio.Lock` does. For threads and tasks on one lock use `ThreadBackoffLock`.

    Arguments (times are seconds or a `datetime.timedelta`):

    - `schedule`: the delays between tries. With wake-ups on, a delay is an upper bound, and only
      the first in the queue tries again and again: who joins behind another rests until its turn,
      unless it limits its tries or somebody watches it. Not given, it is `DEFAULT_SCHEDULE`, or
      `POLLING_SCHEDULE` where nobody wakes a waiter.
    - `over`: a lock to keep the key in, with ``acquire(False)`` and ``release()``: of `threading`,
      of `multiprocessing`, or a `ThreadBackoffLock`. It is tried once here to see that it excludes.
      Whoever uses it directly is outside of the queue and wakes nobody.
    - `timeout`, `max_attempts`: the limits of every acquisition that does not bring its own;
      ``None`` is no limit, a timeout of 0 one try.
    - `fair_after`: once the first waiter has waited this long, a free key is left to it and
      newcomers queue behind. 0, the default, is first come, first served; ``None`` never reserves,
      and a task that loops on the lock may starve the others.
      Source of the default: a task that overtakes saves no switch, and the others starve. With 0,
      2, 4, 10, 20 and 40 ms 100 tasks that hold the lock for a turn of the loop reached 0.92, 0.84,
      0.74, 0.80, 0.70 and 0.70 of `asyncio.Lock`'s throughput, and Jain's index was 1.00, 0.98,
      0.72, 0.25, 0.11 and 0.05 (3.12, medians of 3 rounds of ``python -m benchmarks --only
      tasks/asyncio/100/turn --only 'BackoffLock*' --only asyncio.Lock``).
    - `wake_on_release`: whether a release ends the nap of the next waiter. False is the textbook
      lock: every nap is slept out.
    - `name`: stands in messages, logs and the repr.
    - `on_wait`: called with a `WaitDetails` before each nap, in the waiting task; an error it
      raises goes to the waiter, which leaves the queue.
    - `rng`: an object with ``random()``; the default is the module `random`.

    Promised: mutual exclusion; a cancelled, timed-out or interrupted acquire leaves nothing held
    and nothing queued; waiting blocks no event loop; a waiter whose loop is closed or blocked holds
    the others up for about 10 ms. Not promised: an order between tasks that ask at the same moment,
    or behind a waiter whose loop was late.
    """

    __slots__ = ()

    async def acquire(
        self,
        *,
        timeout: Duration | Default | None = DEFAULT,
        max_attempts: int | Default | None = DEFAULT,
    ) -> bool:
        """Wait for the lock and take it; return True.

        `timeout` (seconds or a timedelta) and `max_attempts` stand in for the constructor's; a
        timeout of 0 is one try. Raises `AcquireTimeout` at a limit, `OwnerDied` if the owning task
        has ended, RuntimeError if the running task owns the lock. On asyncio a free lock is taken
        without giving way to other tasks; on trio it is a checkpoint. Cancelled here, nothing is
        held.

        >>> import asyncio
        >>> async def main():
        ...     lock = BackoffLock(name="orders")
        ...     await lock.acquire(timeout=2.0)
        ...     lock.release()
        >>> asyncio.run(main())
        """
        await self._enter(self._limits(timeout, max_attempts))
        return True

    def acquire_nowait(self) -> None:
        """Take the lock at once, or raise `WouldBlock`: taken, or reserved for a waiter.

        Raises RuntimeError if the running task owns the lock already.
        """
        task = running_task()
        if self._owner is task:
            raise RuntimeError(self._reacquired(task_name(task)))
        if not self._contention.try_take(None, None, self._window):
            raise WouldBlock(self._contention.label, len(self._queue))
        self._owner = task

    def release(self) -> None:
        """Put the key back and wake the next waiter; only the owner may.

        Raises RuntimeError if the running task does not own the lock; then nothing has changed.
        """
        task, owner = running_task(), self._owner
        if owner is not task:
            held_by = "no task owns it" if owner is None else f"it is {task_name(owner)}'s"
            raise RuntimeError(
                f"{task_name(task)} cannot release lock {self._contention.label!r}: {held_by}"
            )
        self._released_by_hand = True
        self._give_back()

    def attempts(
        self,
        *,
        timeout: Duration | Default | None = DEFAULT,
        max_attempts: int | Default | None = DEFAULT,
    ) -> Attempts:
        """Return an iterator for ``async for`` that tries once a step; see `Attempt`.

        Between two steps you may do other work; the waiter keeps its place meanwhile. The attempt
        that acquires is the last. Raises `AcquireTimeout` where a further try would pass a limit.
        Leaving the loop early leaves nothing queued, and nothing held that was not entered.

        >>> import asyncio
        >>> async def main():
        ...     lock = BackoffLock()
        ...     async for attempt in lock.attempts(timeout=5.0):
        ...         if attempt.acquired:
        ...             async with attempt:
        ...                 return f"mine at attempt {attempt.number}"
        ...         print(f"taken; other work, then {attempt.delay} s")
        >>> asyncio.run(main())
        'mine at attempt 1'
        """
        return Attempts(self, self._limits(timeout, max_attempts))

    def _check(self) -> Check:
        return self._look_at_owner

    def _look_at_owner(self, waiter: Waiter, now: float) -> None:
        owner = self._owner
        if owner is None:
            return
        if owner is cast("TaskWaiter", waiter).task:
            raise RuntimeError(self._reacquired(waiter.name))
        # It may have released and ended since we looked, so look again.
        if has_ended(owner) and self._owner is owner:
            raise OwnerDied(
                self._contention.label, task_name(owner), waiter.attempt, now - waiter.since
            )

    def _reacquired(self, task: str) -> str:
        return (
            f"{task} cannot acquire lock {self._contention.label!r}: it is {task}'s already, "
            "and the lock is not reentrant"
        )
