"""Who keeps count: a slot for whoever is inside of a lock, and a desk for each actor."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Self

from backofflock import BackoffLock, ThreadBackoffLock

__all__ = ["Desk", "Site", "Thrown", "Visit"]


class Thrown(Exception):
    """What ends a section on purpose."""


class Site:
    """A lock, and a plain slot that nothing but this lock protects."""

    def __init__(self, name: str, lock: ThreadBackoffLock | BackoffLock) -> None:
        self.name = name
        self.lock = lock
        self.inside: object = None
        """The visit that is inside."""
        self.count = 0
        """Sections entered: read on entry, written on exit, so that an overlap loses some."""


class Desk:
    """What one actor has seen. It alone writes here."""

    def __init__(self, actor: str, host: str) -> None:
        self.actor = actor
        self.host = host
        self.sections: Counter[tuple[str, str, str]] = Counter()
        """How often each kind (lock, host, verb) was entered."""
        self.longest: dict[tuple[str, str, str], float] = {}
        """The longest wait of each kind that ended inside, in seconds."""
        self.events: Counter[str] = Counter()
        """Timeouts, cancels, refusals, and what else came about."""
        self.overlaps: list[str] = []
        self.errors: list[str] = []
        """What should not have been raised."""

    def went_wrong(self, error: BaseException, doing: str) -> None:
        """Note an error that nobody asked for."""
        if len(self.errors) < 5:
            self.errors.append(f"{self.actor} in {doing}: {type(error).__name__}: {error}")

    def visit(self, site: Site, verb: str, asked: float) -> Visit:
        """Return the section of somebody who asked for the lock at `asked` and has it now."""
        return Visit(self, site, verb, asked)


class Visit:
    """One section, by ``with``: it looks whether it is alone, on entry and on exit."""

    __slots__ = ("_asked", "_before", "_desk", "_site", "_verb")

    def __init__(self, desk: Desk, site: Site, verb: str, asked: float) -> None:
        self._desk, self._site, self._verb, self._asked = desk, site, verb, asked
        self._before = 0

    def __repr__(self) -> str:
        return f"{self._desk.actor} by {self._verb}"

    def __enter__(self) -> Self:
        site, desk = self._site, self._desk
        other, site.inside = site.inside, self
        self._before = site.count
        if other is not None:
            desk.overlaps.append(f"{self!r} found {other!r} inside of {site.name}")
        waited = time.monotonic() - self._asked
        kind = (site.name, desk.host, self._verb)
        desk.sections[kind] += 1
        if waited > desk.longest.get(kind, -1.0):
            desk.longest[kind] = waited
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        site = self._site
        if site.inside is not self or site.count != self._before:
            self._desk.overlaps.append(f"{self!r} left {site.name} and found {site.inside!r}")
        site.count = self._before + 1
        site.inside = None
