"""What the checks of several risks have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backofflock import Constant, ThreadBackoffLock

from .subjects import Subject
from .worlds import Contestant, World

RESTING = Constant(30.0)
"""Naps longer than the patience of any test, but who stands behind another rests before them."""

ASLEEP = RESTING.take(1000)
"""The same naps, and as they may come to an end, nobody rests: only a wake-up helps in time."""


class Ledger:
    """Who is inside, and who has been; complains of two at once."""

    def __init__(self) -> None:
        self.visits: list[str] = []
        self._inside: list[str] = []

    @contextmanager
    def visit(self, name: str) -> Iterator[None]:
        """Be inside."""
        self._inside.append(name)
        try:
            assert self._inside == [name], f"{self._inside} are inside at once"
            self.visits.append(name)
            yield
            assert self._inside == [name], f"{self._inside} are inside at once"
        finally:
            self._inside.remove(name)


def visitor(
    subject: Subject, ledger: Ledger, name: str = "visitor", seconds: float = 0.0
) -> Contestant[None]:
    """Return a contestant that visits once."""

    async def visit(world: World) -> None:
        async with world.hold(subject):
            with ledger.visit(name):
                await world.sleep(seconds)

    return visit


async def queued(world: World, subject: Subject, count: int) -> None:
    """Wait until so many stand in the queue."""
    await world.until(lambda: subject.waiting() == count, f"{count} in the queue")


async def assert_at_rest(world: World, subject: Subject) -> None:
    """Check that nobody holds or waits, and that there is one key: one can take it, a second not.

    It must be so at once, and not after a while.
    """
    waiting = subject.waiting()
    assert waiting == 0, f"{waiting} left in the queue"
    if isinstance(subject.direct, ThreadBackoffLock):
        assert subject.direct.statistics().tasks_waiting == 0
    assert not subject.lock.locked(), "the key is gone"
    assert subject.lock.statistics().owner is None

    async def second(world: World) -> bool:
        return world.try_once(subject)

    assert world.try_once(subject), "the key is gone"
    assert await world.join([world.spawn(second)]) == [False], "there are two keys"
    world.release(subject)
    assert not subject.lock.locked()
