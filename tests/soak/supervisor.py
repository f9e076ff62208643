"""The run: it starts everybody, watches that the locks keep moving, stops everybody and looks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial

import trio

from backofflock import BackoffLock, ThreadBackoffLock
from backofflock._key import KEY

from .aftermath import Memory, leftovers, look_at_rest
from .cast import LOOPS, Options, Role, cast, programs_of
from .chaos import MISCHIEFS, Mischief
from .contenders import AsyncioActor, TaskActor, TrioActor, disturb, live_in_thread
from .desks import Desk, Site
from .programs import dice, disturbances, steps

__all__ = ["PHASES", "Run"]

PHASES = {"warm-up": 0.25, "main": 0.75}
"""Parts of the time. Memory is measured after both, with everybody stopped."""

PATIENCE = 4.0
"""Seconds without a section after which a lock that somebody wants has come to a standstill."""

STOP_WITHIN = 20.0
"""Seconds within which everybody must have stopped."""

Tell = Callable[[str], None]


class Run:
    """One soak of two locks, and what it has found."""

    def __init__(
        self,
        options: Options,
        shared: Callable[[], ThreadBackoffLock],
        owned: Callable[[], BackoffLock],
        tell: Tell,
    ) -> None:
        self.options = options
        self.sites = (Site("shared", shared()), Site("owned", owned()))
        self._desks: dict[str, Desk] = {}  # those of the warm-up go on in the main phase
        self.problems: list[str] = []
        self.lost_keys = 0
        self.seconds = 0.0
        self.interrupted = False
        self.left_behind: dict[str, int] = {}
        self.memory: list[Memory] = []
        self.fingerprint = programs_of(options, "main")
        self._tell = tell
        self._stopping = False

    @property
    def desks(self) -> list[Desk]:
        """The desks of all actors."""
        return list(self._desks.values())

    @property
    def sections(self) -> int:
        """How many sections were left so far."""
        return sum(site.count for site in self.sites)

    @property
    def overlaps(self) -> list[str]:
        """Who met whom inside."""
        return [overlap for desk in self.desks for overlap in desk.overlaps]

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        errors = any(desk.errors for desk in self.desks)
        return not (self.problems or self.overlaps or self.lost_keys or errors)

    def perform(self) -> None:
        """Perform the phases, and look at the locks after each; stop at the first fault."""
        for phase, part in PHASES.items():
            self._perform(phase, 60.0 * self.options.minutes * part)
            if self.interrupted or any(thread.is_alive() for thread in self._threads):
                return
            for site in self.sites:
                kept = sum(
                    number
                    for desk in self.desks
                    for kind, number in desk.sections.items()
                    if kind[0] == site.name
                )
                found, lost = look_at_rest(site, kept)
                self.problems += found
                self.lost_keys += lost
            self.left_behind = leftovers()
            for what, number in self.left_behind.items():
                if number:
                    self.problems.append(f"{number} {what} left behind after everybody stopped")
            self.memory.append(Memory.now(self.sections))
            if not self.clean:
                return

    # -- everybody ---------------------------------------------------------------------------------

    def _perform(self, phase: str, seconds: float) -> None:
        self._stopping = False
        self._threads: list[threading.Thread] = []
        began = time.monotonic()
        watch = Watch(self.sites)
        try:
            self._start_everybody(phase)
            while time.monotonic() < began + seconds and self.clean:
                self._look(watch)
                self._tell(f"{phase}: {time.monotonic() - began:.0f} s, {self.sections:,} sections")
        except KeyboardInterrupt:
            self.interrupted = True
        self._stopping = True
        latest = time.monotonic() + STOP_WITHIN
        while alive := [thread.name for thread in self._threads if thread.is_alive()]:
            if time.monotonic() > latest:
                self.problems.append(f"did not stop within {STOP_WITHIN:g} s: {', '.join(alive)}")
                break
            self._look(watch)
        self.seconds += time.monotonic() - began

    def _start_everybody(self, phase: str) -> None:
        roles = cast(self.options)
        for role in roles:
            if role.place == "thread":
                self._start(role.name, partial(self._thread, phase, role))
        for loop in LOOPS:
            self._start(loop, partial(self._loop, phase, loop, roles))
        for name, (mischief, pause) in MISCHIEFS.items():
            self._start(name, partial(self._mischief, phase, name, mischief, pause))

    def _look(self, watch: Watch) -> None:
        found, lost = watch.look()
        self.problems += found
        self.lost_keys += lost
        time.sleep(0.02)

    def _over(self) -> bool:
        return self._stopping

    def _start(self, name: str, live: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                live()
            except BaseException as error:
                self.problems.append(f"{name} died of {type(error).__name__}: {error}")

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _desk(self, name: str, host: str) -> Desk:
        return self._desks.setdefault(name, Desk(name, host))

    def _thread(self, phase: str, role: Role) -> None:
        program = steps(dice(self.options.seed, f"{phase}/{role.name}"), role.verbs)
        desk = self._desk(role.name, "thread")
        live_in_thread(self.sites[role.site], desk, program, self._over)

    def _mischief(self, phase: str, name: str, mischief: Mischief, pause: float) -> None:
        rng, desk = dice(self.options.seed, f"{phase}/{name}"), self._desk(name, name)
        while not self._stopping:
            time.sleep(rng.uniform(0.0, pause))
            mischief(self.sites, desk, rng)

    def _loop(self, phase: str, loop: str, roles: list[Role]) -> None:
        host, seed = LOOPS[loop], self.options.seed
        kind: type[TaskActor] = AsyncioActor if host == "asyncio" else TrioActor
        actors = [
            kind(
                self.sites[role.site],
                self._desk(role.name, host),
                steps(dice(seed, f"{phase}/{role.name}"), role.verbs),
                self._over,
            )
            for role in roles
            if role.place == loop
        ]
        desk = self._desk(f"{loop} monkey", host)
        program = disturbances(dice(seed, f"{phase}/{loop} monkey"))

        async def on_asyncio() -> None:
            monkey = disturb(actors, desk, program, asyncio.sleep, self._over)
            await asyncio.gather(monkey, *(actor.live() for actor in actors))

        async def on_trio() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(disturb, actors, desk, program, trio.sleep, self._over)
                for actor in actors:
                    nursery.start_soon(actor.live, name=actor.name)

        if host == "asyncio":
            asyncio.run(on_asyncio())
        else:
            trio.run(on_trio)


class Watch:
    """It sees a lock that has come to a standstill, and puts a lost key back so that all can stop.

    The key is lost if it is not there, nobody is inside, and nobody has been for a while: whoever
    takes the key goes inside at once.
    """

    def __init__(self, sites: tuple[Site, ...]) -> None:
        self._sites = sites
        self._counts = {site.name: site.count for site in sites}
        self._still = {site.name: 0.0 for site in sites}
        self._looked = time.monotonic()

    def look(self) -> tuple[list[str], int]:
        """Return what is wrong with the locks, and how many of them had lost their key."""
        found: list[str] = []
        lost = 0
        now = time.monotonic()
        passed = min(now - self._looked, 0.25)  # a stall of the whole machine is nobody's fault
        self._looked = now
        for site in self._sites:
            name, lock = site.name, site.lock
            waiting = lock.statistics().tasks_waiting
            if site.count != self._counts[name] or not (lock.locked() or waiting):
                self._counts[name], self._still[name] = site.count, 0.0
                continue
            self._still[name] += passed
            if self._still[name] < PATIENCE:
                continue
            self._still[name] = 0.0
            state = f"no section of {name} for {PATIENCE:g} s, {waiting} waiting"
            if site.inside is not None:
                found.append(f"{state}: {site.inside!r} stays inside")
            elif lock.locked():
                lost += 1
                found.append(f"{state}: the key is gone, and nobody is inside")
                lock._key.append(KEY)
            else:
                found.append(f"{state}: the key is there, and nobody takes it")
        return found, lost
