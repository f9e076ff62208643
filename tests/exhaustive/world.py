"""One small world: its contenders, what may happen next, what must hold after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any

from backofflock import BackoffLock, Constant, ThreadBackoffLock
from backofflock._waiter import NEVER, Waiter

from .contenders import Actor, Contender, HandWaiter, TaskActor, ThreadActor
from .loop import REST, Clock, HandLoop

__all__ = ["GRACE", "NAP", "SLOWEST", "Action", "Case", "Faults", "Violation", "World"]

NAP = 4.0
"""Seconds of every nap, for the first in the queue."""

GRACE = 1.0
"""Seconds by which a waiter may be late here."""

SLOWEST = 3 * REST + 3 * (NAP * 3 + GRACE + 1)
"""Seconds within which a world of three ends when nothing more goes wrong."""

Action = tuple[str, int | str]
"""What happens next: a verb, and to which contender (its number) or loop (its name)."""


class Violation(AssertionError):
    """Something that must always hold does not."""


@dataclass(frozen=True)
class Faults:
    """How often what may go wrong does, in one history."""

    cancels: int = 0
    lost: int = 0
    """Wake-ups that are never delivered."""
    delays: int = 0
    """Times that everybody is late: time passes although somebody could run."""
    deaths: int = 0
    """Threads that end, loops that close and loops that block, for good."""


@dataclass(frozen=True)
class Case:
    """A world to visit all interleavings of."""

    name: str
    contenders: tuple[Contender, ...]
    faults: Faults = field(default_factory=Faults)
    threads: bool = False
    """Whether the lock is a ThreadBackoffLock; else it is a BackoffLock."""
    fair_after: float | None = 0.0
    wake_on_release: bool = True
    first: bool = False
    """Whether it belongs to the small set that every test run visits."""

    thread_window: float | None = None
    """The window of threads; then that of tasks is 0, as by default."""
    over: bool = False
    """Whether the key is kept in another lock, which some contenders use directly."""
    make: Callable[..., Any] | None = None
    """Makes another lock, for a search that shall find something."""

    def lock(self, over: ThreadBackoffLock | None) -> BackoffLock | ThreadBackoffLock:
        make = self.make or (ThreadBackoffLock if self.threads else BackoffLock)
        lock: BackoffLock | ThreadBackoffLock = make(
            Constant(NAP),
            over=over,
            fair_after=self.fair_after,
            wake_on_release=self.wake_on_release,
            name="it",
            rng=Random(0),
        )
        lock._contention.grace = GRACE
        if self.thread_window is not None:
            lock._window, lock._thread_window = 0.0, self.thread_window
        return lock


class World:
    """A case under way."""

    def __init__(self, case: Case, clock: Clock) -> None:
        self.case = case
        self.clock = clock
        self.direct = ThreadBackoffLock() if case.over else None
        self.lock = case.lock(self.direct)
        self.left = {
            "cancel": case.faults.cancels,
            "lose": case.faults.lost,
            "delay": case.faults.delays,
            "die": case.faults.deaths,
        }
        self.inside: list[Actor] = []
        self.history: list[Action] = []
        self.came_in = False
        """Whether somebody has come in during this event."""
        self.loops: dict[str, HandLoop] = {}
        self.actors: list[Actor] = []
        for number, spec in enumerate(case.contenders):
            if spec.loop is None:
                self.actors.append(ThreadActor(self, number, spec))
            else:
                if spec.loop not in self.loops:
                    self.loops[spec.loop] = HandLoop(clock, spec.loop)  # type: ignore[abstract]
                loop = self.loops[spec.loop]
                self.actors.append(TaskActor(self, number, spec, loop))

    @property
    def threads(self) -> Iterator[ThreadActor]:
        return (actor for actor in self.actors if isinstance(actor, ThreadActor))

    # -- what may happen next ----------------------------------------------------------------------

    def actions(self) -> list[Action]:
        """Return everything that may happen next; nothing once all have ended.

        Nor where all that are left nap and try for a key that a dead one has, and nothing more may
        go wrong: they would do so for ever.
        """
        if all(actor.ended or not actor.alive for actor in self.actors):
            return []
        if not any(self.left.values()) and self._all_wait_for_the_dead():
            return []
        result: list[Action] = [
            ("step", loop.name) for loop in self.loops.values() if loop.runnable
        ]
        result += [("step", thread.number) for thread in self.threads if thread.runnable]
        can_run = bool(result)
        result += [("leave", a.number) for a in self.actors if self._may_be_told_to_leave(a)]
        posted = self._posted()
        result += [("deliver", where) for where in posted]
        if (can_run or posted) and self.left["delay"] and self._next_event() < inf:
            result.append(("delay", ""))
        elif not can_run and not posted and self._next_event() < inf:
            result.append(("pass", ""))
        if self.left["lose"]:
            result += [("lose", where) for where in posted]
        if self.left["cancel"]:
            result += [
                ("cancel", actor.number) for actor in self.actors if self._cancellable(actor)
            ]
        if self.left["die"]:
            result += [("block", loop.name) for loop in self.loops.values() if loop.alive]
            result += [("close", loop.name) for loop in self.loops.values() if loop.alive]
            result += [("kill", t.number) for t in self.threads if t.alive and not t.ended]
        return result

    def _may_be_told_to_leave(self, actor: Actor) -> bool:
        return actor.alive and actor.stage == "inside" and not actor.may_leave

    def _cancellable(self, actor: Actor) -> bool:
        if not actor.alive or actor.ended:
            return False
        # A thread is interrupted while it naps; elsewhere, see tests/preemption.
        return isinstance(actor, TaskActor) or actor.waiter() is not None

    def _posted(self) -> list[int | str]:
        """Return to whom something is on its way: loops and threads."""
        result: list[int | str] = [
            loop.name for loop in self.loops.values() if loop.posted and loop.alive
        ]
        result += [t.number for t in self.threads if t.alive and t.wait and t.wait.posted]
        return result

    def _next_event(self) -> float:
        """Return the next time at which anything changes."""
        now, times = self.clock.now, [inf]
        for loop in self.loops.values():
            if loop.alive:
                times += [timer.when() for timer in loop.timers]
        times += [t.wait.until for t in self.threads if t.alive and t.wait and t.wait.until]
        for waiter in self.lock._contention.queue:
            for promised in (waiter.pledge.promise, waiter.woken_at):
                times += [promised + GRACE, promised + GRACE + 1]  # just not late, and late
        return min(time for time in times if time > now)

    # -- what happens ------------------------------------------------------------------------------

    def do(self, action: Action) -> None:
        """Let `action` happen, and check what must hold after it."""
        verb, whom = action
        self.history.append(action)
        before = list(self.lock._contention.queue)
        self.came_in = False
        if verb in {"cancel", "lose", "delay"}:
            self.left[verb] -= 1
        if verb in {"block", "close", "kill"}:
            self.left["die"] -= 1
        if verb == "step":
            self._step(whom)
        elif verb in {"deliver", "lose"}:
            self._deliver(whom, lost=verb == "lose")
        elif verb in {"pass", "delay"}:
            self.clock.now = self._next_event()
        elif verb in {"block", "close"}:
            loop = self.loops[str(whom)]
            loop.blocked, loop.closed = verb == "block", verb == "close"
        else:
            actor = self.actors[int(whom)]
            if verb == "leave":
                actor.leave()
            elif verb == "cancel":
                actor.cancel()
            else:
                assert isinstance(actor, ThreadActor)
                actor.dead = True
        self.inside = [actor for actor in self.inside if actor.stage == "inside"]
        self._check(before)

    def _step(self, whom: int | str) -> None:
        if isinstance(whom, str):
            self.loops[whom].step()
        else:
            actor = self.actors[whom]
            assert isinstance(actor, ThreadActor)
            actor.step()

    def _deliver(self, whom: int | str, lost: bool) -> None:
        if isinstance(whom, str):
            loop = self.loops[whom]
            handle = loop.posted.popleft()
            if not lost:
                loop.ready.append(handle)
            return
        actor = self.actors[whom]
        assert isinstance(actor, ThreadActor)
        assert actor.wait is not None
        actor.wait.posted = False
        actor.wait.delivered = not lost

    def entered(self, actor: Actor) -> None:
        """Note that `actor` is inside; in one step it may have left and come back."""
        self.came_in = True
        self.inside = [*(other for other in self.inside if other.stage == "inside"), actor]

    # -- what must hold ----------------------------------------------------------------------------

    def _check(self, before: list[Waiter]) -> None:
        machine = self.lock._contention
        inside = [actor.number for actor in self.inside]
        if len(inside) > 1:
            raise Violation(f"{inside} are inside at once")
        if len(machine.key) + len(inside) != 1:
            raise Violation(f"{len(machine.key)} keys, and {inside} inside")
        came_in = self.came_in and inside and not self.inside[0].spec.direct
        if came_in:
            self._check_turn(self.inside[0], before)
        queue = list(machine.queue)
        for actor in self.actors:
            if isinstance(actor, TaskActor) and (error := actor.error) is not None:
                raise Violation(f"{actor.number} failed: {error!r}")
            waits = actor.waiter() is not None
            if actor.stage != "waiting" and waits:
                raise Violation(f"{actor.number} is {actor.stage} and still queued")
            if actor.alive and actor.stage == "waiting" and not actor.spec.steps:
                joined = actor.wait if isinstance(actor, ThreadActor) else self._has_begun(actor)
                if joined and not waits:
                    raise Violation(f"{actor.number} waits outside of the queue")
        if len({id(waiter) for waiter in queue}) != len(queue):
            raise Violation("one stands in the queue twice")
        for thread in self.threads:
            wait = thread.wait
            if wait and wait.until and wait.until > wait.deadline:
                raise Violation(f"{thread.number} naps past its deadline")
            if wait and wait.until and self.history[-1] == ("step", thread.number):
                self._check_nap(thread.number, wait, wait.until, queue)
        self._check_somebody_comes(queue)
        for loop in self.loops.values():
            if loop.alive and len(loop.timers) > 1:
                raise Violation(f"{len(loop.timers)} timers on loop {loop.name}")
        woken = [w for w in queue if w.woken_at != NEVER and w.woken_at >= self.clock.now - GRACE]
        if len(woken) > 1:
            raise Violation("two wake-ups are on their way, and neither is late")

    def _check_turn(self, actor: Actor, before: list[Waiter]) -> None:
        """Check that whoever took the free key passed over nobody who was due and not late."""
        oldest, lock = self.clock.now - GRACE, self.lock
        own = lock._thread_window if isinstance(actor, ThreadActor) else lock._window
        strict = any(waiter.window == 0.0 for waiter in before)
        for waiter in before:
            if self._is_of(waiter, actor):
                return
            if waiter.gone():
                continue
            due = strict or self.clock.now - waiter.since >= min(own, waiter.window)
            if due and waiter.woken_at >= oldest and waiter.pledge.promise >= oldest:
                raise Violation(f"{actor.number} overtook {waiter.name}, who was not late")

    def _check_nap(self, number: int, wait: Waiter, until: float, queue: list[Waiter]) -> None:
        """Check that a nap that has just begun is as long as the place in the queue says."""
        place = 1 if self.case.fair_after is None else 1 + queue.index(wait)
        expected = self.clock.now + (REST if wait.resting else NAP) * place
        expected = min(expected, wait.deadline)
        if until != expected:
            raise Violation(f"{number} naps until {until:g}, and not until {expected:g}")

    def _check_somebody_comes(self, queue: list[Waiter]) -> None:
        """Check that while the key lies free one of those who wait is on its way to it."""
        machine, faults = self.lock._contention, self.case.faults
        if not machine.key or not queue or not machine.wake_on_release or self.direct:
            return
        if self.left["lose"] < faults.lost or self.left["die"] < faults.deaths:
            return
        naps = [t.wait for t in self.threads if t.wait and t.wait.until and not t.wait.delivered]
        awake = [
            waiter for waiter in queue if isinstance(waiter, HandWaiter) and waiter not in naps
        ]
        tasks_run = any(loop.ready or loop.posted for loop in self.loops.values())
        if not awake and not tasks_run and all(waiter.woken_at == NEVER for waiter in queue):
            raise Violation("the key lies free, and nobody is on the way to it")

    @staticmethod
    def _is_of(waiter: Waiter, actor: Actor) -> bool:
        if isinstance(actor, TaskActor):
            return getattr(waiter, "task", None) is actor.task
        return getattr(waiter, "number", None) == actor.number

    @staticmethod
    def _has_begun(actor: Actor) -> bool:
        # Cancelled, it still stands as waiting until its loop runs it; so does one whose nap ended.
        return isinstance(actor, TaskActor) and not actor.cancels and not actor.loop.ready

    def check_end(self) -> None:
        """Check what must hold once all have ended."""
        machine = self.lock._contention
        gone = [actor for actor in self.actors if not actor.alive]
        if self.inside and self.inside[0].alive:
            raise Violation("somebody is inside at the end")
        if not self.inside and not machine.key:
            raise Violation("the key is lost at the end")
        waiting = sum(actor.waiter() is not None for actor in gone)
        if len(machine.queue) > waiting:
            raise Violation(f"{len(machine.queue)} in the queue, {waiting} of them dead")

    def complete(self, most: int = 400) -> float:
        """Let all that live end, with nothing more going wrong; return the seconds it took.

        Where a dead one holds the lock, those without a limit wait on; then it is enough that all
        others end.
        """
        began = self.clock.now
        for _ in range(most):
            actions = [a for a in self.actions() if a[0] in {"deliver", "step", "leave", "pass"}]
            if not actions or self._all_wait_for_the_dead():
                self.check_end_or_dead()
                if self.clock.now - began > SLOWEST:
                    raise Violation(f"it took {self.clock.now - began:g} seconds to come to an end")
                return self.clock.now - began
            # In turn, so that none is left out: those that can run, then deliveries, then time.
            for action in actions:
                if action in self.actions():
                    self.do(action)
        raise Violation(f"not over after {most} rounds: {self.stages()}")

    def _all_wait_for_the_dead(self) -> bool:
        if not self.inside or self.inside[0].alive:
            return False
        return all(
            actor.ended
            or not actor.alive
            or (actor.stage == "waiting" and actor.spec.timeout is None and self._unlimited(actor))
            for actor in self.actors
        )

    def _unlimited(self, actor: Actor) -> bool:
        holder = self.inside[0]
        told = isinstance(self.lock, BackoffLock) and isinstance(holder, TaskActor)
        # Of a closed loop the waiters of a BackoffLock are told; a blocked one may go on some day.
        return actor.spec.max_attempts is None and not (
            told and isinstance(holder, TaskActor) and holder.loop.closed
        )

    def check_end_or_dead(self) -> None:
        if not self._all_wait_for_the_dead():
            self.check_end()

    def stages(self) -> list[str]:
        return [f"{actor.number} {actor.stage}" for actor in self.actors]

    def dispose(self) -> None:
        for actor in self.actors:
            actor.dispose()
