"""Depth first through the histories of a world; from a state seen before it goes no further."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backofflock._hosts import task_name
from backofflock._hosts._asyncio import Alarm, AsyncioWaiter
from backofflock._waiter import NEVER, Waiter

from .contenders import Actor, TaskActor, actor_name
from .loop import Clock, HandLoop, virtual_time
from .world import GRACE, Action, Case, Violation, World

__all__ = ["Found", "Visited", "replay", "search", "unlike"]


@dataclass
class Visited:
    """What a search has been through."""

    case: Case
    states: int = 0
    """Distinct states."""
    histories: int = 0
    """Distinct sequences of events, each run from the beginning."""
    events: int = 0
    """Events in all of them, their completions included."""
    endings: int = 0
    """Distinct states in which all had ended."""
    longest: int = 0
    """Events in the longest history."""
    slowest: float = 0.0
    """Virtual seconds of the slowest completion from any state."""


class Found(AssertionError):
    """A history after which something does not hold."""

    def __init__(
        self, case: Case, history: list[Action], violation: Violation, rest: Sequence[Action] = ()
    ) -> None:
        events = [*history, *rest]
        text = " ".join(f"{verb}:{whom}" if whom != "" else verb for verb, whom in events)
        super().__init__(f"{case.name}: {violation}; after: {text}")
        self.history = history


def search(
    case: Case, most: int | None = None, tell: Callable[[Visited], None] | None = None
) -> Visited:
    """Visit every state of `case`, at most so many; raise `Found` at the first violation."""
    visited = Visited(case)
    seen: set[tuple[object, ...]] = set()
    pending: list[list[Action]] = [[]]
    clock = Clock()
    with virtual_time(clock):
        while pending and (most is None or visited.states < most):
            history = pending.pop()
            world = _world_after(case, clock, history)
            visited.histories += 1
            visited.events += len(history)
            state = _state(world)
            if state not in seen:
                seen.add(state)
                visited.states += 1
                visited.longest = max(visited.longest, len(history))
                actions = world.actions()
                visited.endings += not actions
                pending += [[*history, action] for action in reversed(actions)]
                try:
                    visited.slowest = max(visited.slowest, world.complete())
                except Violation as violation:
                    rest = world.history[len(history) :]
                    raise Found(case, history, violation, rest) from None
                if tell is not None and visited.states % 500 == 0:
                    tell(visited)
            world.dispose()
    return visited


def replay(case: Case, history: list[Action]) -> list[str]:
    """Return what the contenders are at after each event of `history`, or raise `Violation`."""
    clock = Clock()
    with virtual_time(clock):
        world = World(case, clock)
        lines = [f"{'begin':<12} {world.stages()}"]
        for action in history:
            world.do(action)
            verb = f"{action[0]}:{action[1]}"
            lines.append(f"{verb:<12} {clock.now:5.0f} s {world.stages()}")
        world.complete()
        world.dispose()
    return lines


def unlike(case: Case) -> tuple[list[Action], list[Action]] | None:
    """Return two histories that lead to equal states from which not the same can happen, if any.

    There must be none: the second of the two is not gone through by `search`.
    """
    seen: dict[tuple[object, ...], tuple[list[Action], frozenset[object]]] = {}
    pending: list[list[Action]] = [[]]
    clock = Clock()

    def after(history: list[Action]) -> tuple[tuple[object, ...], list[Action]]:
        world = _world_after(case, clock, history)
        found = _state(world), world.actions()
        world.dispose()
        return found

    with virtual_time(clock):
        while pending:
            history = pending.pop()
            state, actions = after(history)
            longer = [[*history, action] for action in actions]
            future = frozenset((each[-1][0], after(each)[0]) for each in longer)
            first, its_future = seen.setdefault(state, (history, future))
            if its_future != future:
                return first, history
            if first is history:
                pending += longer
    return None


def _world_after(case: Case, clock: Clock, history: list[Action]) -> World:
    clock.now = 0.0
    world = World(case, clock)
    for place, action in enumerate(history):
        try:
            world.do(action)
        except Violation as violation:
            raise Found(case, history[: place + 1], violation) from None
    return world


# -- what tells two states apart -------------------------------------------------------------------


def _state(world: World) -> tuple[object, ...]:
    """Return all that the future of `world` depends on, with times as distances from now.

    Contenders of one kind may change places: which of them is which makes no difference to what can
    happen. So each goes by its rank, not by its number.
    """
    now, machine = world.clock.now, world.lock._contention
    ranked = _ranked(world)
    names = {actor_name(actor): rank for rank, actor in enumerate(ranked)}

    def away(time: float) -> float:
        # All that is late is equally late.
        return time if time == NEVER else max(time - now, -GRACE - 1)

    queue = list(machine.queue)

    def behind(ticket: int) -> int:
        # A ticket counts by its distance from the first in the queue, if it is no older than that.
        return ticket - queue[0].ticket if queue and ticket >= queue[0].ticket else -1

    def of_waiter(waiter: Waiter) -> tuple[object, ...]:
        since = min(now - waiter.since, waiter.window) if waiter.window != NEVER else 0.0
        return (
            names[waiter.name],
            behind(waiter.ticket),
            since,
            away(waiter.woken_at),
            away(waiter.pledge.promise),
            waiter.resting,
            away(waiter.deadline),
            waiter.attempt if machine.schedule.gives_up else min(waiter.attempt, 3),
            _nap_of(waiter),
        )

    owner = world.lock._owner
    return (
        len(machine.key),
        None if owner is None else names[task_name(owner)],
        tuple(map(of_waiter, queue)),
        behind(machine.last_strict),
        tuple(actor.state() for actor in ranked),
        tuple(_loop_state(loop, world, away, behind, names) for loop in world.loops.values()),
        tuple(world.left.values()),
    )


def _ranked(world: World) -> list[Actor]:
    """Return the contenders, those of one kind in an order that their numbers have no part in.

    The order is by all that the state says of each: two that are equal in that can be told apart by
    nothing that happens from here on.
    """
    queue = [waiter.name for waiter in world.lock._contention.queue]
    owner = world.lock._owner
    owner_name = None if owner is None else task_name(owner)
    specs = world.case.contenders
    handles = [
        (loop.name, where, place, *_what(handle, world))
        for loop in world.loops.values()
        for where, line in (("ready", loop.ready), ("posted", loop.posted))
        for place, handle in enumerate(line)
    ]

    def key(actor: Actor) -> tuple[object, ...]:
        name = actor_name(actor)
        return (
            specs.index(actor.spec),
            queue.index(name) if name in queue else len(queue),
            name == owner_name,
            repr(actor.state()),
            [handle[:-1] for handle in handles if handle[-1] == name],
        )

    return sorted(world.actors, key=key)


def _nap_of(waiter: Waiter) -> object:
    if not isinstance(waiter, AsyncioWaiter) or waiter._nap is None:
        return None
    return waiter._nap.done()


def _loop_state(
    loop: HandLoop,
    world: World,
    away: Callable[[float], float],
    behind: Callable[[int], int],
    names: dict[str, int],
) -> tuple[object, ...]:
    alarm = world.lock._alarms.get(loop)
    alarm_state: object = None
    if alarm is not None:
        first = alarm.first()
        alarm_state = (
            alarm.watches,
            away(alarm.promise),
            first is not None and alarm._watched == first.ticket,
            tuple(sorted((away(ends), nap.done()) for ends, _, nap in alarm._heap)),
        )

    def what(handle: object) -> tuple[str, int]:
        verb, whom = _what(handle, world)
        return verb, names.get(whom, -1)

    return (
        loop.closed,
        loop.blocked,
        tuple(what(handle) for handle in loop.ready),
        tuple(what(handle) for handle in loop.posted),
        tuple(sorted(away(timer.when()) for timer in loop.timers)),
        alarm_state,
    )


def _what(handle: object, world: World) -> tuple[str, str]:
    """Return what a callback of a loop does, and to which contender."""
    callback = handle._callback  # type: ignore[attr-defined]
    target = getattr(callback, "__self__", None)
    if isinstance(target, Alarm):
        return "ring", ""
    if isinstance(target, AsyncioWaiter):
        return "end its nap", target.name
    for actor in world.actors:
        if isinstance(actor, TaskActor) and target is actor.task:
            return type(callback).__name__, actor_name(actor)
    return f"{callback!r}", ""
