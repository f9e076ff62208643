"""One system put to the test: threads and tasks contend for its lock, and every turn is noted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

from backofflock import WaitDetails

from .contenders import Contender, Room, State
from .manners import Manner, build
from .measure import free_while_waited, longest_wait, overlaps, total_wait
from .settings import Settings
from .systems import System

__all__ = ["Contest", "MannerOf", "Result"]

MannerOf = Callable[[System, float, Random, Callable[[WaitDetails], None]], Manner]
"""Makes a system's lock: told the system, the scale, the randomness and whom to tell of waits."""

_HEARTBEAT = 0.005
_PATIENCE = 2.0
"""Seconds that a stopped contest waits for threads whose naps nothing can cut short."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a system did. Times are seconds."""

    system: System
    acquisitions: int
    gave_up: int
    attempts: int
    total_wait: float
    longest_wait: float
    free_while_waited: float
    """How long nobody held the lock although somebody waited for it."""
    cpu: float
    """Processor time of the process, less that of the thread that watches (and draws)."""
    loop_delay: float
    """By how much a heartbeat on the tasks' event loop was late, at the worst."""
    elapsed: float
    other_work: int
    """Units of other work done between tries."""
    status_lines: int
    intrusions: int
    """How often two were in the critical section at once: anything but 0 is a broken lock."""


class _Stopped(Exception):
    """Raised in a waiter, by way of ``on_wait``, when the contest is called off."""


class Contest:
    """Threads and tasks contending for one lock; a context manager that leaves none behind.

    ``watch`` in the thread that entered it, until it says that all are done; then ask for `result`.
    Leaving it earlier calls the contest off: holders let go, tasks are cancelled, threads leave at
    their next try. A thread in the middle of a long nap is given some time, then left to die with
    the process.
    """

    def __init__(
        self,
        system: System,
        settings: Settings,
        manner_of: MannerOf = build,
    ) -> None:
        self.system = system
        self.settings = settings
        self.lines: deque[str] = deque()
        """Status lines that have not been shown yet."""
        self._stopping = threading.Event()
        self._begun = threading.Event()
        self._room = Room(settings.hold, self._stopping)
        self._in_threads = [
            Contender(f"thread-{n}", self._room) for n in range(1, settings.threads + 1)
        ]
        self._in_tasks = [Contender(f"task-{n}", self._room) for n in range(1, settings.tasks + 1)]
        self.contenders: list[Contender] = self._in_threads + self._in_tasks
        self._by_name = {me.name: me for me in self.contenders}
        rng = Random(f"{settings.seed} {system.name}")
        self._manner = manner_of(system, settings.scale, rng, self._on_wait)
        self._threads = [
            threading.Thread(target=self._contend, args=(me,), name=me.name, daemon=True)
            for me in self._in_threads
        ]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = threading.Thread(target=self._run_loop, name="loop", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []
        self._loop_delay = 0.0
        self._lines = 0
        self._errors: list[BaseException] = []
        self._started = self._cpu = self._elapsed = 0.0

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._cpu -= time.process_time() - time.thread_time()
        try:
            for thread in [*self._threads, self._loop_thread]:
                thread.start()
        except BaseException:
            self.stop()
            raise
        return self

    def watch(self, seconds: float) -> bool:
        """Wait for `seconds` or until all are done; return whether they are."""
        self._loop_thread.join(seconds)
        return not self._loop_thread.is_alive()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        until = time.monotonic() + _PATIENCE
        for thread in [self._loop_thread, *self._threads]:
            thread.join(max(0.0, until - time.monotonic()))
        self._cpu += time.process_time() - time.thread_time()
        self._elapsed = time.monotonic() - self._started
        if self._errors and exc_value is None:
            raise self._errors[0]

    def stop(self) -> None:
        """Call the contest off, from any thread; once all are done it changes nothing."""
        self._stopping.set()
        self._begun.set()
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._cancel_tasks)
            except RuntimeError:
                pass  # closed already

    def asleep(self) -> int:
        """Return how many threads have not ended: after the ``with`` block, those left behind."""
        return sum(thread.is_alive() for thread in self._threads)

    def progress(self) -> float:
        """Return which part of the turns is over: 0 to 1."""
        turns = sum(len(me.turns) for me in self.contenders)
        return turns / (len(self.contenders) * self.settings.rounds)

    def result(self) -> Result:
        """Return what was measured; call it after the ``with`` block."""
        turns = [turn for me in self.contenders for turn in me.turns]
        gave_up = sum(turn.released is None for turn in turns)
        return Result(
            system=self.system,
            acquisitions=len(turns) - gave_up,
            gave_up=gave_up,
            attempts=sum(turn.attempts for turn in turns),
            total_wait=total_wait(turns),
            longest_wait=longest_wait(turns),
            free_while_waited=free_while_waited(turns),
            cpu=self._cpu,
            loop_delay=self._loop_delay,
            elapsed=self._elapsed,
            other_work=sum(me.other_work for me in self.contenders),
            status_lines=self._lines,
            intrusions=max(self._room.intrusions, overlaps(turns)),
        )

    # -- in the contenders' threads and tasks ------------------------------------------------------

    def _on_wait(self, details: WaitDetails) -> None:
        if self._stopping.is_set():
            raise _Stopped
        self._by_name[details.waiter].failed(details.attempt)
        if self.system.status_lines:
            tries = "attempt" if details.attempt == 1 else "attempts"
            self.lines.append(
                f"{details.waiter} has waited {details.waited:.3f} s after {details.attempt} "
                f"failed {tries}; next try in {details.delay:.3f} s"
            )
            self._lines += 1

    def _contend(self, me: Contender) -> None:
        self._begun.wait()
        try:
            for turn in range(self.settings.rounds):
                if turn:
                    self._stopping.wait(self.settings.hold)
                if self._stopping.is_set():
                    break
                self._manner.in_thread(me)
        except BaseException as error:
            self._fail(error)
        finally:
            me.finish()

    async def _contend_in_task(self, me: Contender) -> None:
        try:
            for turn in range(self.settings.rounds):
                if turn:
                    await asyncio.sleep(self.settings.hold)
                await self._manner.in_task(me)
        except BaseException as error:
            self._fail(error)
        finally:
            me.finish()

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, _Stopped | asyncio.CancelledError):
            self._errors.append(error)
            self.stop()

    # -- in the loop's thread ----------------------------------------------------------------------

    def _run_loop(self) -> None:
        try:
            asyncio.run(self._all_tasks())
        except BaseException as error:
            self._fail(error)

    async def _all_tasks(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            asyncio.create_task(self._contend_in_task(me), name=me.name) for me in self._in_tasks
        ]
        if self._stopping.is_set():  # before there was a loop to tell
            self._cancel_tasks()
        self._begun.set()
        while not self._stopping.is_set() and any(
            me.doing.state is not State.DONE for me in self.contenders
        ):
            due = self._loop.time() + _HEARTBEAT
            await asyncio.sleep(_HEARTBEAT)
            self._loop_delay = max(self._loop_delay, self._loop.time() - due)
        await asyncio.gather(*self._tasks)

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            if not task.cancelling():  # once: a second cancel would end the tidying up of the first
                task.cancel()
