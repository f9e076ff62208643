"""The workloads of a fleet, as data: a backend, a host, so many contenders in so many processes."""

from __future__ import annotations

from dataclasses import dataclass

from ..cells import Cell

__all__ = ["BACKENDS", "CELLS", "HUNDREDS", "SECTIONS", "THINK", "FleetCell"]

BACKENDS = ("redis", "file", "postgres", "etcd")

THINK = 0.010
"""Seconds of which a contender thinks a random part between two acquisitions."""

SECTIONS = {
    "free": "one contender, and nobody else wants the lock",
    "empty": "held for nothing: threads call a function, tasks let their loop turn once",
    "1ms": "held for 1 ms of sleep",
    "once": "all ask at once, each gets it once, for nothing; measured until all have had it",
}
"""What happens under the lock."""


@dataclass(frozen=True)
class FleetCell(Cell):
    """One line of the results. Its `host` is backend, kind of contender and workload."""

    processes: int = 1
    """How many processes the contenders are spread over."""

    @property
    def backend(self) -> str:
        """The first part of its host."""
        return self.host.partition("/")[0]

    @property
    def in_tasks(self) -> bool:
        """Whether tasks contend, and not threads."""
        return self.host.split("/")[1] == "asyncio"

    @property
    def is_timed(self) -> bool:
        """Whether the section takes a time that limits what a lock can do."""
        return self.section == "1ms"

    @property
    def about(self) -> str:
        """What is done in it, as a sentence."""
        text = SECTIONS[self.section]
        if self.think:
            text += f", with a random 0 to {THINK * 1000:.0f} ms of thinking in between"
        return f"{text[0].upper()}{text[1:]}."

    def _parts(self) -> tuple[str, ...]:
        where = self.host.rpartition("/")[0]
        if self.workload == "uncontended":
            return where, self.workload
        who = f"{self.contenders}"
        if self.processes > 1:
            who = f"{self.processes}x{self.contenders // self.processes}"
        return where, who, self.section, "think" if self.think else ""


UNCONTENDED = 0.2
CONTENDED = 1.5
"""Seconds of a sample; one that contends is longer, as redis-py naps for 0.1 s at a time."""

HUNDREDS = ((100, 1), (100, 4))
"""Contenders and processes of the cells that bars are about."""

SOME = ((2, 1), (10, 2), *HUNDREDS)
ALL = ((2, 1), (2, 2), (10, 1), (10, 2), *HUNDREDS)


def _uncontended(backend: str, kind: str) -> FleetCell:
    return FleetCell(
        "uncontended",
        f"{backend}/{kind}/uncontended",
        "free",
        tasks=kind == "asyncio",
        threads=kind == "threads",
        count_seconds=UNCONTENDED,
        weight=4,
    )


def _contended(
    backend: str, kind: str, size: int, processes: int, section: str, think: bool = False
) -> FleetCell:
    return FleetCell(
        "burst" if section == "once" else "contended",
        f"{backend}/{kind}/contended",
        section,
        tasks=size if kind == "asyncio" else 0,
        threads=size if kind == "threads" else 0,
        think=think,
        timed_seconds=CONTENDED,
        processes=processes,
    )


def _cells() -> list[FleetCell]:
    kinds = ("asyncio", "threads")
    cells = [_uncontended(backend, kind) for backend in BACKENDS for kind in kinds]
    for backend, sizes in (("redis", ALL), ("file", SOME), ("postgres", SOME)):
        for kind in kinds:
            cells += [_contended(backend, kind, *size, "empty") for size in sizes]
            if backend != "postgres":
                cells += [_contended(backend, kind, *size, "1ms") for size in HUNDREDS]
            cells += [_contended(backend, kind, *size, "once") for size in HUNDREDS]
            if backend == "redis":
                cells += [_contended(backend, kind, *size, "empty", True) for size in HUNDREDS]
    return cells


CELLS: tuple[FleetCell, ...] = tuple(_cells())
"""All cells, in the order they are measured."""
