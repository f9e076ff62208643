"""Waiting step by step: one try an iteration, so that the caller can do other work in between."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ._hosts import (
    Task,
    TaskWaiter,
    ThreadWaiter,
    running_asyncio_task,
    trio_task_and_checkpoint,
)
from ._observers import observer

if TYPE_CHECKING:
    from ._contention import Limits
    from ._face import Face
    from .records import WaitDetails
    from .threads import ThreadBackoffLock

__all__ = ["Attempt", "Attempts", "ThreadAttempts"]


def _delay_is_seen(details: WaitDetails) -> None:
    """Hear of each nap: the caller sees its delay, so it is the schedule's and no rest."""


class Attempt:
    """One try, as ``attempts()`` gives it.

    Attributes: `number` (from 1), `acquired`, and for a failed one `delay`, the seconds that will
    be slept, at the most, when the loop goes on. An attempt is true if it acquired the lock; then
    it is a context manager, ``with`` or ``async with``, for the critical section. Entering it takes
    the lock over; one that is not entered gives the lock back when the loop is left.
    """

    __slots__ = ("_face", "_to_enter", "acquired", "delay", "number")

    def __init__(self, face: Face, number: int) -> None:
        self._face = face
        self._to_enter = False
        self.number: int = number
        self.acquired: bool = False
        self.delay: float = 0.0

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
            self._to_enter = False
            self._face._give_back()


class Attempts:
    """The iterator of ``attempts()``: ``async for`` in a task. It ends after the one that acquires.

    Left early, by ``break``, an error or a cancel, it leaves the queue as soon as nothing refers to
    it any more, which for the iterator of a loop is at once; `close` does it by hand.
    """

    __slots__ = ("_attempt", "_face", "_limits", "_over", "_policy", "_waiter")

    def __init__(self, face: Face, limits: Limits) -> None:
        self._face = face
        self._limits = limits
        self._attempt = Attempt(face, 0)
        self._waiter: TaskWaiter | ThreadWaiter
        self._policy: Generator[float, None, None] | None = None
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._ends():
            raise StopAsyncIteration
        if self._policy is None:
            task: Task | None = running_asyncio_task()
            if task is None:
                task, checkpoint = trio_task_and_checkpoint()
                await checkpoint
            face = self._face
            if not self._first_try(task, face._window):
                self._join(face._waiter(task, steps=True))
                self._retry(task)
            return self._attempt
        waiter = self._waiter
        assert not isinstance(waiter, ThreadWaiter)
        try:
            await waiter.nap(self._delay_left())
            self._attempt = Attempt(self._face, self._attempt.number + 1)
            self._retry(waiter.task)
        except BaseException:
            self.close()
            raise
        return self._attempt

    def _ends(self) -> bool:
        """Return whether the loop is over: because of the last attempt, or of `close`."""
        if self._attempt.acquired:
            self.close()
        return self._over

    def _first_try(self, owner: Task | None, window: float) -> bool:
        attempt = self._attempt = Attempt(self._face, 1)
        if self._face._contention.try_take(None, None, window):
            attempt._to_enter = attempt.acquired = True
            self._face._owner = owner
        return attempt.acquired

    def _join(self, waiter: TaskWaiter | ThreadWaiter) -> None:
        face = self._face
        self._waiter = waiter
        observe = observer(face._on_wait) or _delay_is_seen
        self._policy = face._contention.contend(waiter, self._limits, observe)

    def _retry(self, owner: Task | None) -> None:
        """Let the policy try: note in the attempt the delay to sleep, or that it acquired."""
        attempt = self._attempt
        assert self._policy is not None
        for attempt.delay in self._policy:
            return
        # The attempt was made before the try, and no call stands between the two: a signal cannot
        # come in between and lose the key.
        attempt._to_enter = attempt.acquired = True
        self._face._owner = owner

    def _delay_left(self) -> float:
        return self._face._contention.promise_anew(self._waiter, self._attempt.delay)

    def close(self) -> None:
        """Leave the queue, and give the lock back unless the caller took it."""
        self._over = True
        if self._policy is not None:
            self._face._contention.abandon(self._policy, self._waiter)
        self._attempt._forgo()

    def __del__(self) -> None:
        self.close()


class ThreadAttempts(Attempts):
    """`Attempts` that a thread can step too, by ``for``."""

    __slots__ = ()

    _face: ThreadBackoffLock

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Attempt:
        if self._ends():
            raise StopIteration
        if self._policy is None:
            face = self._face
            if not self._first_try(None, face._thread_window):
                face._refuse_to_stall(stacklevel=3)
                self._join(ThreadWaiter(face._thread_window))
                self._retry(None)
            return self._attempt
        waiter = self._waiter
        assert isinstance(waiter, ThreadWaiter)
        try:
            waiter.nap(self._delay_left())
            self._attempt = Attempt(self._face, self._attempt.number + 1)
            self._retry(None)
        except BaseException:
            self.close()
            raise
        return self._attempt
