"""A deterministic scheduler for two real threads, with a clock that moves only when both nap.

One thread runs at a time; the other waits for its turn on a lock of its own. Before every point
(see `points`) the running thread takes a step: the step's number is noted, and if the plan has that
number, the turn goes to the other thread. Else a thread runs on until it naps or ends.

What blocks gives the turn away instead; see `stand_ins`. A thread that naps can go on once it is
woken; its nap is over when nobody else can run, and then the clock is put forward to its end. In a
play in which time passes, a preemption too may find that the other's nap is over: who is preempted
is away for as long as that.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from types import SimpleNamespace, TracebackType
from typing import Self
from unittest import mock

from backofflock import threads
from backofflock._hosts._asyncio import AsyncioWaiter
from backofflock._hosts._thread import ThreadWaiter

from .points import BEYOND, TIME, Points
from .stand_ins import Gate
from .tracing import Tracer

__all__ = ["Body", "Run", "Stage", "Step"]

Step = tuple[int, str, bool]
"""Which thread, the place it is about to touch, and whether it writes."""

Body = Callable[[], object]
Check = Callable[[], str | None]

MOST_STEPS = 4000
"""So many steps no play takes unless somebody waits for ever."""


class CalledOff(SystemExit):
    """Ends a thread of a run that cannot go on; an event loop lets it through."""


class Run:
    """What came of one play by one plan."""

    def __init__(self, plan: Iterable[int], time_passes: bool, check: Check) -> None:
        self.plan = frozenset(plan)
        self.time_passes = time_passes
        self.check = check
        self.steps: list[Step] = []
        self.open: list[bool] = []  # whether the other thread could have run instead
        self.outcome: tuple[str, ...] = ()
        self.complaints: list[str] = []
        self.called_off = False

    def complain(self, complaint: str) -> None:
        """Note a broken promise, once."""
        if complaint not in self.complaints:
            self.complaints.append(complaint)


class Player:
    """One thread, and what it naps for."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"thread {number}"
        self.turn = allocate_lock()
        self.turn.acquire()
        self.body: Body | None = None
        self.plays = False
        self.thread = 0
        self.until = 0.0
        self.is_woken: Callable[[], bool] | None = None

    def can_run(self, time_passes: bool = False) -> bool:
        """Whether it could be given the turn."""
        if not self.plays:
            return False
        if self.is_woken is None or (time_passes and self.until < inf):
            return True
        return self.is_woken()


class Stage:
    """Two threads and their clock: plays one run after another. Enter it to use it."""

    def __init__(self, points: Points | None = None) -> None:
        self.now = 100.0
        self._tracer = Tracer(Points() if points is None else points, self.step)
        self.run = Run((), False, lambda: None)
        self._running: Player | None = None
        self._players = (Player(0), Player(1))
        self._over = allocate_lock()
        self._over.acquire()
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        self._tracer.install()  # first: it refuses a second stage at the same time
        self._ends.callback(self._tracer.remove)
        for target, name, stand_in in self._stand_ins():
            self._ends.enter_context(mock.patch.object(target, name, stand_in))
        for player in self._players:
            thread = threading.Thread(target=self._serve, args=(player,), daemon=True)
            thread.start()
            self._ends.callback(thread.join, 10.0)
            self._ends.callback(player.turn.release)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for player in self._players:
            player.body = None
        self._ends.close()

    def _stand_ins(self) -> Iterable[tuple[object, str, object]]:
        for name, module in list(sys.modules.items()):
            ours = name.startswith("backofflock.") and BEYOND.isdisjoint(name.split("."))
            ours = ours or name == "tests.preemption.faults"
            if ours and getattr(module, "monotonic", None) is time.monotonic:
                yield module, "monotonic", self.monotonic
        host = sys.modules[ThreadWaiter.__module__]
        yield host, "allocate_lock", lambda: Gate(self)
        yield host, "time", SimpleNamespace(monotonic=self.monotonic, sleep=self.sleep)
        yield threads, "give_way", self.give_way
        for waiter in (ThreadWaiter, AsyncioWaiter):
            yield waiter, "clock", staticmethod(self.monotonic)

    def play(self, bodies: tuple[Body, Body], run: Run) -> None:
        """Play a run to its end; it holds what came of it."""
        self.run = run
        for player, body in zip(self._players, bodies, strict=True):
            player.body, player.plays, player.is_woken = body, True, None
        with _without_finalizers():
            self._give_turn(self._players[0])
            if not self._over.acquire(timeout=60.0):
                raise RuntimeError(f"the play by the plan {sorted(run.plan)} blocks for real")

    # -- in the threads ----------------------------------------------------------------------------

    def _serve(self, player: Player) -> None:
        player.thread = get_ident()
        while True:
            player.turn.acquire()
            if player.body is None:
                return
            self._perform(player, player.body)
            player.plays = False
            other = self._players[1 - player.number]
            if other.plays:
                if not self.run.called_off and not other.can_run():
                    self._let_time_pass(other)
                self._give_turn(other)
            else:
                self._running = None
                self._over.release()

    def _perform(self, player: Player, body: Body) -> None:
        run = self.run
        self._tracer.begin()
        try:
            if run.called_off:
                return
            self.step("the start", False)
            body()
        except CalledOff:
            pass
        except BaseException as error:
            run.complain(f"{player.name} raised {error!r}")
        finally:
            self._tracer.end()

    def step(self, place: str, writes: bool) -> None:
        """Be preempted here, before the place is touched, if the plan says so."""
        player, run = self._running, self.run
        if player is None or run.called_off or player.thread != get_ident():
            return  # a thread that an earlier test has left may run the same code
        number = len(run.steps)
        if number >= MOST_STEPS:
            self._call_off(f"somebody waits for ever: {number} steps and no end")
            raise CalledOff
        other = self._players[1 - player.number]
        is_open = other.can_run(run.time_passes)
        run.steps.append((player.number, place, writes))
        run.open.append(is_open)
        if (complaint := run.check()) is not None:
            run.complain(complaint)
        if is_open and number in run.plan:
            self._change(player, other)

    def nap(self, seconds: float, is_woken: Callable[[], bool]) -> None:
        """Give the turn away until woken, or until so many seconds are over."""
        player = self._running
        assert player is not None, "only the threads on stage can nap"
        if self.run.called_off:
            raise CalledOff
        if is_woken():
            return
        player.until, player.is_woken = self.now + seconds, is_woken
        other = self._players[1 - player.number]
        if other.can_run():
            self._change(player, other)
        elif other.plays and other.until < player.until:
            self._let_time_pass(other)
            self._change(player, other)
        else:
            self._let_time_pass(player)
            if self.run.called_off:
                raise CalledOff
        player.is_woken = None
        self.step(TIME, True)

    def sleep(self, seconds: float) -> None:
        """Stand in for ``time.sleep``."""
        self.nap(seconds, lambda: False)

    def give_way(self) -> None:
        """Stand in for `give_way`: whether another runs meanwhile is for the plan to say."""
        self.step(TIME, False)

    def monotonic(self) -> float:
        """Stand in for ``time.monotonic``."""
        self.step(TIME, False)
        return self.now

    def _let_time_pass(self, player: Player) -> None:
        """Put the clock forward to the end of a nap, as nobody can run before."""
        if player.until == inf:
            self._call_off(f"{player.name} waits for ever: nobody is left to wake it")
        elif player.until > self.now and not self.run.time_passes:
            self._call_off(f"{player.name} was not woken: it slept while nobody else could run")
        else:
            self.now = max(self.now, player.until)

    def _call_off(self, complaint: str) -> None:
        self.run.complain(complaint)
        self.run.called_off = True

    def _change(self, player: Player, other: Player) -> None:
        self._give_turn(other)
        player.turn.acquire()
        if self.run.called_off:
            raise CalledOff

    def _give_turn(self, player: Player) -> None:
        if player.is_woken is not None and player.until < inf and not player.is_woken():
            self.now = max(self.now, player.until)
        self._running = player
        player.turn.release()


@contextmanager
def _without_finalizers() -> Iterator[None]:
    """Keep the garbage of earlier plays from being finalized in a later one, as steps of it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
