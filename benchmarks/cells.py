"""The workloads, as data: a cell is one of them with one number of contenders and one section."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CELLS", "SECTIONS", "Cell"]

SECTIONS = {
    "free": "nobody else wants the lock",
    "turn": "tasks hold it for one turn of the loop, threads for a call that does nothing",
    "1ms": "held for 1 ms of sleep",
    "random": "held for a random 0 to 5 ms, with a random 0 to 5 ms of thinking after it",
    "empty": "held for a call of a function that does nothing",
    "bare": "held for nothing at all: CPython cannot switch threads there, so that they never meet",
    "cpu": "held for 20 us of computing",
    "io": "held for 200 us of sleep",
    "held": "held by one all the time",
}
"""What happens under the lock."""

WEIGHTS = {"cpu": 2}
"""Samples a round of threads by their section, if more than one: those that compute differ most."""


@dataclass(frozen=True)
class Cell:
    """One line of the results: who contends where, for what."""

    workload: str
    host: str
    section: str
    tasks: int = 0
    threads: int = 0
    think: bool = False
    count_seconds: float = 0.0
    """Length of a sample that does nothing but count, for sections so short that taking times would
    show; 0 where one sample does for everything."""
    timed_seconds: float = 0.0
    """Length of a sample that takes the wait of every acquisition."""
    timed_every: int = 1
    """Timed samples are taken in every so many rounds."""
    weight: int = 1
    """Samples of this cell in each round of the suite."""

    @property
    def contenders(self) -> int:
        """Tasks and threads together."""
        return self.tasks + self.threads

    @property
    def id(self) -> str:
        """Its name, such as tasks/asyncio/100/turn."""
        return "/".join(part for part in self._parts() if part)

    def modes_of(self, metric: str) -> set[str]:
        """Return which kinds of its samples measure `metric`, the better kind where two could."""
        if self.workload == "waiters":
            return {"memory"} if metric.startswith("memory") else {"timed"}
        if not self.timed_seconds:
            return {"count"}
        if not self.count_seconds:
            return {"timed"}
        # Counting alone is the better measure of speed, the longer run that of fairness.
        return {"count"} if metric in {"throughput", "cpu", "failed"} else {"timed"}

    def _parts(self) -> tuple[str, ...]:
        think = "think" if self.think else ""
        if self.workload == "uncontended":
            return self.workload, self.host
        if self.workload == "waiters":
            return self.workload, str(self.tasks)
        if self.workload == "mixed":
            who = f"{self.threads}+{self.tasks}" if self.threads else f"loops-{self.tasks}"
            return self.workload, who, self.section
        if self.workload == "threads":
            return self.workload, str(self.threads), self.section, think
        return self.workload, self.host, str(self.tasks), self.section


def _uncontended() -> list[Cell]:
    return [
        Cell("uncontended", host, "free", count_seconds=0.01, weight=10)
        for host in ("asyncio", "trio", "threads")
    ]


def _tasks() -> list[Cell]:
    cells = []
    for host, sizes in (("asyncio", (2, 10, 100, 1000, 10000)), ("trio", (2, 100, 1000))):
        for size in sizes:
            # Each of 1,000 must have had a chance to get the lock twice before fairness shows.
            millisecond = 2.5 if size == 1000 and host == "asyncio" else 0.3
            # Locks that hand over well differ by less than one sample does from the next.
            weight = 2 if size <= 100 and host == "asyncio" else 1
            cells += [
                Cell("tasks", host, "turn", tasks=size, count_seconds=0.1, timed_seconds=0.2),
                Cell(
                    "tasks",
                    host,
                    "1ms",
                    tasks=size,
                    timed_seconds=millisecond,
                    weight=weight,
                ),
            ]
            if host == "asyncio":
                cells.append(
                    Cell("tasks", host, "random", tasks=size, think=True, timed_seconds=0.25)
                )
    return cells


def _threads() -> list[Cell]:
    # What a thread alone reaches is what several can reach at the most: they exclude each other.
    cells = [
        Cell(
            "threads",
            "threads",
            section,
            threads=1,
            count_seconds=0.2,
            weight=WEIGHTS.get(section, 1),
        )
        for section in ("cpu", "io")
    ]
    for size in (2, 8, 32):
        for section in ("empty", "cpu", "io"):
            # Bars on fairness and on the longest wait are over runs of 2 s.
            timed = 0.25 if section == "cpu" else 2.0
            cells += [
                Cell(
                    "threads",
                    "threads",
                    section,
                    threads=size,
                    count_seconds=0.2,
                    timed_seconds=timed,
                    timed_every=3,
                    weight=WEIGHTS.get(section, 1),
                ),
                Cell("threads", "threads", section, threads=size, think=True, timed_seconds=0.2),
            ]
        cells.append(Cell("threads", "threads", "bare", threads=size, count_seconds=0.2))
    return cells


def _mixed() -> list[Cell]:
    cells = []
    for host, threads, tasks in (
        ("mixed", 1, 1),
        ("mixed", 4, 4),
        ("mixed", 4, 100),
        ("loops", 0, 8),
    ):
        cells += [
            Cell(
                "mixed",
                host,
                "turn",
                tasks=tasks,
                threads=threads,
                count_seconds=0.2,
                timed_seconds=0.3,
            ),
            # Locks that hand over well differ by less than one sample does from the next.
            Cell(
                "mixed",
                host,
                "1ms",
                tasks=tasks,
                threads=threads,
                timed_seconds=0.5,
                weight=7 if threads else 3,
            ),
        ]
    return cells


def _waiters() -> list[Cell]:
    return [
        Cell("waiters", "asyncio", "held", tasks=size, timed_seconds=1.0) for size in (1000, 10000)
    ]


CELLS: tuple[Cell, ...] = (*_uncontended(), *_tasks(), *_threads(), *_mixed(), *_waiters())
"""All cells, in the order they are measured."""
