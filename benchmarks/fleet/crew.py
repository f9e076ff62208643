"""The workers as the suite sees them: hired when they are needed, kept from sample to sample."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from ..workloads.tally import PATIENCE, Stuck
from .counting import FleetTally
from .jobs import CLOSE, Failed, Job, Window
from .worker import serve

__all__ = ["Broken", "Crew"]

GRACE = 5.0
"""Seconds that `PATIENCE` leaves a worker to tell by itself that a contender did not end."""


class Broken(RuntimeError):
    """A worker failed in a sample."""


class Crew:
    """Processes that contend; each is a fresh interpreter. Leaving it ends them all."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[tuple[SpawnProcess, Connection]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._dismiss()

    def start(self, jobs: Sequence[Job]) -> None:
        """Give a job to as many workers, and return when all have set up."""
        while len(self._workers) < len(jobs):
            mine, theirs = self._context.Pipe()
            process = self._context.Process(target=serve, args=(theirs,), daemon=True)
            with _deaf_to_ctrl_c():
                process.start()
            theirs.close()
            self._workers.append((process, mine))
        self._busy = len(jobs)
        for (_, pipe), job in zip(self._workers, jobs, strict=False):
            pipe.send(job)
        self._hear(perf_counter() + PATIENCE)

    def contend(self, window: Window) -> None:
        """Let them contend in a window to come."""
        self._say(window)

    def tallies(self, window: Window) -> list[FleetTally]:
        """Return what they counted, once they are through."""
        return self._hear(window.end + PATIENCE + GRACE)

    def finish(self) -> None:
        """Let them close their connections; they are free for the next sample."""
        self._say(CLOSE)
        self._hear(perf_counter() + PATIENCE)

    def _say(self, what: object) -> None:
        for process, pipe in self._workers[: self._busy]:
            try:
                pipe.send(what)
            except OSError:
                process.join()
                status = process.exitcode
                self._dismiss()
                raise Broken(f"a worker ended with status {status}") from None

    def _hear(self, until: float) -> list[Any]:
        """Return the answer of each; workers of a sample that went wrong are not used again."""
        answers = []
        try:
            for process, pipe in self._workers[: self._busy]:
                if not pipe.poll(max(0.0, until - perf_counter())):
                    raise Stuck("a worker did not end its part of the sample")
                try:
                    answer = pipe.recv()
                except EOFError:
                    process.join()
                    raise Broken(f"a worker ended with status {process.exitcode}") from None
                if isinstance(answer, Failed):
                    raise Broken(answer.reason)
                answers.append(answer)
        except BaseException:
            self._dismiss()
            raise
        return answers

    def _dismiss(self) -> None:
        workers, self._workers = self._workers, []
        for process, pipe in workers:
            process.kill()  # it holds nothing that outlives it: the servers are the suite's own
            pipe.close()
        for process, _ in workers:
            process.join()
            process.close()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started here never hear it: it is the suite's, which ends its workers."""
    resource_tracker.ensure_running()  # else the first start does that, and unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
