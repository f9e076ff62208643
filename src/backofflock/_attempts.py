"""Waiting step by step: one try an iteration, so that the caller can do other work in between."""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ._hosts import Task, TaskWaiter, ThreadWaiter, checkpoint, current_task, task_waiter

if TYPE_CHECKING:
    from ._face import Face
    from .threads import ThreadBackoffLock

__all__ = ["Attempt", "Attempts", "ThreadAttempts"]


class Attempt:
    """One try, as ``attempts()`` gives it.

    Attributes: `number` (from 1), `acquired`, and for a failed one `delay`, the seconds that will
    be slept, at the most, when the loop goes on. An attempt is true if it acquired the lock; then
    it is a context manager, ``with`` or ``async with``, for the critical section. Entering it takes
    the lock over; one that is not entered gives the lock back when the loop is left.
    """

    __slots__ = ("_face", "_to_enter", "acquired", "delay", "number")

    def __init__(self, face: Face, number: int, *, acquired: bool, delay: float) -> None:
        self._face = face
        self._to_enter = acquired
        self.number = number
        self.acquired = acquired
        self.delay = delay

    def __bool__(self) -> bool:
        return self.acquired

    def __repr__(self) -> str:
        outcome = "acquired" if self.acquired else f"failed, next try in {self.delay:.6g} s"
        return f"<attempt {self.number}: {outcome}>"

    def __enter__(self) -> Self:
        if not self._to_enter:
            raise RuntimeError(
                f"{self!r} cannot be entered: only an attempt that acquired the lock can, once, "
                "and before its loop is left"
            )
        self._to_enter = False
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._face.release()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._face.release()

    def _forgo(self) -> None:
        """Give the lock back unless the caller took it."""
        if self._to_enter:
            self._to_enter = self.acquired = False
            self._face._give_back()


class Attempts:
    """The iterator of ``attempts()``: ``async for`` in a task. It ends after the one that acquires.

    Left early, by ``break``, an error or a cancel, it leaves the queue as soon as nothing refers to
    it any more, which for the iterator of a loop is at once; `close` does it by hand.
    """

    __slots__ = ("_delay", "_face", "_limits", "_number", "_over", "_policy", "_waiter", "_won")

    _waiter: TaskWaiter | ThreadWaiter

    def __init__(self, face: Face, timeout: float | None, max_attempts: int | None) -> None:
        self._face = face
        self._limits = timeout, max_attempts
        self._number = 0
        self._delay = 0.0
        self._policy: Generator[float, None, None] | None = None
        self._won: Attempt | None = None
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._over or self._won is not None:
            self.close()
            raise StopAsyncIteration
        task = current_task()
        if self._policy is None:
            await checkpoint(task)
            return self._first_try(task) or self._join(task_waiter(task), task)
        try:
            waiter = self._waiter
            assert not isinstance(waiter, ThreadWaiter)
            await waiter.nap(self._seconds_left())
        except BaseException:
            self.close()
            raise
        return self._retry(task)

    def _first_try(self, owner: Task | None) -> Attempt | None:
        self._number = 1
        if self._face._contention.try_take(None, monotonic()):
            return self._win(owner)
        return None

    def _join(self, waiter: TaskWaiter | ThreadWaiter, owner: Task | None) -> Attempt:
        self._waiter = waiter
        self._policy = self._face._contend(waiter, *self._limits)
        return self._step(owner)

    def _retry(self, owner: Task | None) -> Attempt:
        self._number += 1
        return self._step(owner)

    def _seconds_left(self) -> float:
        return self._face._contention.promise_anew(self._waiter, self._delay)

    def _step(self, owner: Task | None) -> Attempt:
        assert self._policy is not None
        try:
            self._delay = next(self._policy)
        except StopIteration:
            return self._win(owner)
        except BaseException:
            self._over = True
            raise
        return Attempt(self._face, self._number, acquired=False, delay=self._delay)

    def _win(self, owner: Task | None) -> Attempt:
        self._face._owner = owner
        self._won = Attempt(self._face, self._number, acquired=True, delay=0.0)
        return self._won

    def close(self) -> None:
        """Leave the queue, and give the lock back unless the caller took it."""
        self._over = True
        if self._policy is not None:
            self._policy.close()
        if self._won is not None:
            self._won._forgo()

    def __del__(self) -> None:
        self.close()


class ThreadAttempts(Attempts):
    """`Attempts` that a thread can step too, by ``for``."""

    __slots__ = ()

    _face: ThreadBackoffLock

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Attempt:
        if self._over or self._won is not None:
            self.close()
            raise StopIteration
        if self._policy is None:
            won = self._first_try(None)
            if won is not None:
                return won
            self._face._refuse_to_stall(stacklevel=3)
            return self._join(ThreadWaiter(), None)
        try:
            waiter = self._waiter
            assert isinstance(waiter, ThreadWaiter)
            waiter.nap(self._seconds_left())
        except BaseException:
            self.close()
            raise
        return self._retry(None)
