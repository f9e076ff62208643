"""Waiters that starve the loop, and holders that starve the waiters."""

from __future__ import annotations

import asyncio
import selectors
import time

import pytest
import trio

from backofflock import DEFAULT_SCHEDULE, Spin

from ..contract.checks import Ledger, assert_at_rest, queued, visitor
from ..contract.hosts import (
    LOOPS,
    ON_ASYNCIO,
    ON_EAGER,
    ON_MIXED,
    ON_THREADS,
    ON_TRIO,
    ON_UVLOOP,
    AsyncioHost,
    Host,
    pairs,
)
from ..contract.subjects import FACES, THREADS, Make
from ..contract.test_fairness import (
    check_looping_task_lets_others_in,
    check_nobody_starves,
    check_textbook_lock_starves,
)
from ..contract.worlds import World
from ..schedule_kinds import ALMOST_ONE, Stuck
from .naive import IMPATIENT, Polls, Spins, of

# -- a spin of sleep(0) starves the loop -----------------------------------------------------------

WAITERS = 30


class Turns:
    """How often a loop has looked for events."""

    def __init__(self) -> None:
        self.count = 0


TURNS = Turns()


class CountingSelector(selectors.DefaultSelector):
    """The selector of an event loop that counts the turns of the loop."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        TURNS.count += 1
        return super().select(timeout)


class CountingInstrument(trio.abc.Instrument):
    """The same for trio."""

    def before_io_wait(self, timeout: float) -> None:
        TURNS.count += 1


def counting_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(CountingSelector())


COUNTING = AsyncioHost("asyncio", new_loop=counting_loop)


def check_a_loop_of_waiters_sleeps(make: Make, host: Host) -> None:
    """While the lock is held and nothing else happens, the loop turns for the naps that end.

    With the default schedule a nap takes half of its ceiling at least, times the distance from
    the front. The limit is twice what that makes, for the loop's alarm rings in between.
    """
    hold = 0.150
    (shortest,) = DEFAULT_SCHEDULE.take(1).delays(Stuck(ALMOST_ONE))

    async def main(world: World) -> None:
        if host is ON_TRIO:
            trio.lowlevel.add_instrument(CountingInstrument())
        subject = make()
        ledger = Ledger()
        async with world.hold(subject):
            handles = [world.spawn(visitor(subject, ledger)) for _ in range(WAITERS)]
            await queued(world, subject, WAITERS)
            before, began = TURNS.count, time.monotonic()
            await world.sleep(hold)
            turns, seconds = TURNS.count - before, time.monotonic() - began
        await world.join(handles)
        naps = sum(seconds / (shortest * place) for place in range(1, WAITERS + 1))
        assert turns > 0, "the turns are not counted"
        assert turns < WAITERS + 2 * naps, (turns, seconds)
        await assert_at_rest(world, subject)

    host.run(main)


@pairs(FACES, [COUNTING, ON_TRIO])
def test_sleep_0_spin_starves_the_loop(make: Make, host: Host) -> None:
    """betty #4077 (https://github.com/bartfeenstra/betty/pull/4077): a lock of threads was made
    asynchronous by trying it and sleeping for zero seconds, again and again. That gives others
    their turns but never lets the loop sleep: one waiter takes a core (python/asyncio #398,
    https://github.com/python/asyncio/issues/398).
    """
    check_a_loop_of_waiters_sleeps(make, host)


def test_sleep_0_spin_starves_the_loop_bites() -> None:
    with pytest.raises(AssertionError, match=r"^\(\d+, "):
        check_a_loop_of_waiters_sleeps(of(Spins), COUNTING)


def check_a_turn_costs_one_try(make: Make, host: Host) -> None:
    """A user may ask for a spin: then the loop does not sleep, but a turn costs one try, not N."""
    turns = 100

    async def main(world: World) -> None:
        subject = make(schedule=Spin())
        ledger = Ledger()
        async with world.hold(subject):
            handles = [world.spawn(visitor(subject, ledger)) for _ in range(WAITERS)]
            await queued(world, subject, WAITERS)
            waiters = tuple(subject.lock._contention.queue)
            before = sum(waiter.attempt for waiter in waiters)
            for _ in range(turns):  # and the others have their turns
                await world.sleep(0)
            tries = sum(waiter.attempt for waiter in waiters) - before
        assert turns / 2 < tries < 2 * turns, tries
        await world.join(handles)
        await assert_at_rest(world, subject)

    host.run(main)


@pairs(FACES, [ON_ASYNCIO, ON_EAGER, ON_UVLOOP])
def test_sleep_0_spin_that_was_asked_for(make: Make, host: Host) -> None:
    """betty #4077 once more: with `Spin` as the schedule only the first waiter of a loop spins."""
    check_a_turn_costs_one_try(make, host)


# -- a holder that acquires again starves those who poll -------------------------------------------


@pairs(FACES, LOOPS)
def test_poll_lock_starvation_by_a_reacquiring_holder(make: Make, host: Host) -> None:
    """python-redis-lock #104 (https://github.com/ionelmc/python-redis-lock/issues/104): the holder
    releases and takes the lock again before any of those that poll for it has another look. In a
    loop of one asyncio task this is certain: between its release and its next acquire nobody runs.
    """
    check_looping_task_lets_others_in(make, host)


@pairs([THREADS], [ON_THREADS, ON_MIXED])
def test_poll_lock_starvation_among_threads(make: Make, host: Host) -> None:
    """python-redis-lock #104, among threads, and among threads and tasks."""
    check_nobody_starves(make, host)


def test_poll_lock_starvation_by_a_reacquiring_holder_bites() -> None:
    with pytest.raises(AssertionError, match="in vain"):
        check_looping_task_lets_others_in(of(Polls), IMPATIENT)


@pairs(FACES, [ON_ASYNCIO])
def test_poll_lock_starvation_bites_where_it_is_asked_for(make: Make, host: Host) -> None:
    """``fair_after=None`` with ``wake_on_release=False`` is that very lock, and it starves."""
    check_textbook_lock_starves(make, host)
