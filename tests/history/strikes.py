"""Finalizers and signal handlers that strike in the middle of a lock's internals."""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import backofflock

SOURCES = str(Path(backofflock.__file__).parent)

LATEST = (20e-6, 60e-6, 180e-6)
"""Seconds until a signal comes, at the most: shorter and longer than an acquire takes."""


class Strikes:
    """Where they struck, by function of the lock's sources, and what they ran into."""

    def __init__(self, sources: str = SOURCES) -> None:
        self.inside: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self._sources = sources

    def note(self, frame: FrameType | None) -> None:
        """Note which code was interrupted: the lock's, or what that was calling."""
        while frame is not None:
            if frame.f_code.co_filename.startswith(self._sources):
                self.inside[frame.f_code.co_name] += 1
                return
            frame = frame.f_back

    def run(self, act: Callable[[], object]) -> None:
        """Act, and keep what it raises: from here an error could reach nobody."""
        try:
            act()
        except BaseException as error:
            self.errors.append(error)

    def count(self) -> int:
        """Return how many struck inside the lock."""
        return self.inside.total()

    def are_enough(self, count: int, functions: int) -> bool:
        """Whether so many struck inside the lock, in so many of its functions."""
        return self.count() >= count and len(self.inside) >= functions


class Ballast:
    """An object that the collector counts."""


class Litter:
    """Cyclic garbage from its birth. Its finalizer acts; if that returns True, it leaves another.

    So there is always something to collect, and each collection strikes once, wherever the thread
    is that collects.
    """

    def __init__(self, act: Callable[[FrameType | None], bool]) -> None:
        self._act = act
        self._cycle = self
        # The collector sets in when so many more objects were made than freed; the count begins
        # anew with each collection. With these, the very next object that is made sets it in.
        self._ballast = [Ballast() for _ in range(4)]

    def __del__(self) -> None:
        if self._act(sys._getframe().f_back):
            self._ballast.clear()
            Litter(self._act)


_LEAVING = threading.Lock()


def leave(act: Callable[[FrameType | None], bool]) -> None:
    """Leave litter. Were it collected while it is made, it would pass for old and not be again."""
    with _LEAVING:
        gc.disable()
        Litter(act)
        gc.enable()


@contextmanager
def eager_collector() -> Iterator[None]:
    """Collect garbage as often as CPython can, but for the old, which would take too long."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.set_threshold(1, 2, 1_000_000)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.collect()


@contextmanager
def finalizers(act: Callable[[], object], strikes: Strikes) -> Iterator[None]:
    """Let finalizers act all the time: after one collection, or after a few.

    After each, they would fall into step with the code that makes the objects, and strike there.
    """
    rng = random.Random(20)
    over = False
    left = 0

    def strike(frame: FrameType | None) -> bool:
        nonlocal left
        if over:
            return False
        if left > 0:
            left -= 1
        else:
            left = rng.randrange(8)
            strikes.note(frame)
            strikes.run(act)
        return True

    with eager_collector():
        leave(strike)
        try:
            yield
        finally:
            over = True


def act_after(collections: int, act: Callable[[], object], strikes: Strikes) -> None:
    """Leave garbage whose finalizer acts once, that many collections from now."""
    left = collections

    def strike(frame: FrameType | None) -> bool:
        nonlocal left
        left -= 1
        if left > 0:
            return True
        strikes.note(frame)
        strikes.run(act)
        return False

    leave(strike)


@contextmanager
def signals(
    act: Callable[[], object], strikes: Strikes, again: bool = True
) -> Iterator[Callable[[], None]]:
    """Let a signal handler act in the main thread, at random moments.

    Gives the function that sets the timer; with `again` the handler sets it anew each time.
    """
    rng = random.Random(20)
    armed = False

    def arm() -> None:
        nonlocal armed
        armed = True
        # A signal that comes just before a thread blocks is handled after that, unless another
        # one ends the block: so the timer goes on until the handler has run.
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, rng.choice(LATEST)), 0.002)

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal armed
        if not armed:
            return
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        strikes.note(frame)
        strikes.run(act)
        if again:
            arm()

    before = signal.signal(signal.SIGALRM, handle)
    try:
        arm()
        yield arm
    finally:
        again = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
