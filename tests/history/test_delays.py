"""Delays that overflow, exceed their cap, are no numbers, pass the deadline or are shared."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count, islice, repeat
from typing import Any

import pytest

from backofflock import (
    AcquireTimeout,
    BackoffLock,
    Constant,
    Decorrelated,
    Exponential,
    Schedule,
    Sequence,
    ThreadBackoffLock,
    WaitDetails,
)
from backofflock.schedules import Rng

from ..contract.checks import Ledger, assert_at_rest, queued, visitor
from ..contract.hosts import HOSTS, ON_ASYNCIO, ON_THREADS, ON_TRIO, Host, pairs
from ..contract.subjects import FACES, STRICT, Make
from ..contract.test_timeout import (
    check_deadline_clips_the_last_nap,
    check_no_nap_passes_the_deadline,
)
from ..contract.worlds import World
from ..schedule_kinds import ALMOST_ONE, BOUNDED, Bounded, Stuck
from ..virtual import World as VirtualWorld

CAP = 5.0


def naps_of_a_long_wait(schedule: Schedule, rng: Rng, tries: int) -> list[float]:
    """Return the naps of one waiter of a lock that stays taken, in virtual time."""
    world = VirtualWorld()
    assert world.take()
    world.machine.schedule, world.machine.rng = schedule, rng
    naps = []
    for nap in islice(world.contend(world.waiter()), tries):
        naps.append(nap)
        world.clock.now += nap
    return naps


# -- overflow at large attempt numbers -------------------------------------------------------------


@pytest.mark.parametrize("family", BOUNDED)
def test_overflow_at_large_attempt_numbers(family: Callable[..., Bounded]) -> None:
    """stamina #104 (https://github.com/hynek/stamina/issues/104), twisted #9476
    (https://github.com/twisted/twisted/issues/9476): ``min(cap, initial * 2.0 ** attempt)`` raises
    OverflowError from about the 1025th retry on, although the cap was reached at the tenth; a
    waiter with a cap of some seconds gets there in an hour or two.
    """
    naps = naps_of_a_long_wait(family(0.01, cap=CAP), random.Random(7), 3_000)
    assert len(naps) == 3_000
    assert all(0.0 <= nap <= CAP for nap in naps)


def test_overflow_at_large_attempt_numbers_bites() -> None:
    naive = (min(CAP, 0.01 * 2.0**attempt) for attempt in count())
    with pytest.raises(OverflowError):
        list(islice(naive, 3_000))


# -- jitter above the cap --------------------------------------------------------------------------


@pytest.mark.parametrize("drawn", [0.0, 0.5, ALMOST_ONE])
@pytest.mark.parametrize("family", BOUNDED)
def test_jitter_above_the_cap(family: Callable[..., Bounded], drawn: float) -> None:
    """agenda #1748 (https://github.com/agenda/agenda/issues/1748), openai-agents-python #2676
    (https://github.com/openai/openai-agents-python/pull/2676): the delay was capped and the jitter
    put on top, so that waiters slept longer than the documented maximum.
    """
    schedule = family(0.01, cap=CAP)
    if not isinstance(schedule, Decorrelated):
        schedule = replace(schedule, jitter=1.0)
    naps = naps_of_a_long_wait(schedule, Stuck(drawn), 1_200)
    assert all(0.0 <= nap <= CAP for nap in naps)
    assert max(naps) > 0.0


def test_jitter_above_the_cap_bites() -> None:
    naive = (min(CAP, 0.01 * 2.0**attempt) * (1.0 + 0.5 * ALMOST_ONE) for attempt in range(20))
    assert max(naive) > CAP


# -- negative and NaN delays -----------------------------------------------------------------------


@dataclass(frozen=True)
class Unfit(Schedule):
    """A user's rule that has a slip in it."""

    delay: float

    @property
    def gives_up(self) -> bool:
        return False

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        return iter([0.0, self.delay])


def check_unfit_delay_is_refused(make: Make, host: Host) -> None:
    """The waiter is told which lock and what delay, and leaves the queue; it neither hangs nor
    spins, and those beside it do not notice."""

    async def main(world: World) -> None:
        for delay in (-0.001, -math.inf, math.nan, math.inf, 1e10):
            subject = make(schedule=Unfit(delay), name="orders")
            ledger = Ledger()

            async def fail(world: World, subject: Any = subject) -> str:
                with pytest.raises(ValueError, match="orders") as caught:
                    async with world.hold(subject):
                        pass
                return str(caught.value)

            async with world.hold(subject):
                (message,) = await world.join([world.spawn(fail)])
                assert repr(delay) in message
                assert subject.waiting() == 0
            await world.join([world.spawn(visitor(subject, ledger))])
            await assert_at_rest(world, subject)

    host.run(main)


@pairs(FACES, HOSTS)
def test_negative_and_nan_delays(make: Make, host: Host) -> None:
    """PyMemoize #22 (https://github.com/mikeboers/PyMemoize/pull/22): the acquire of a Redis lock
    computed a negative sleep and died of a bare ValueError of `time.sleep`. tenacity #719
    (https://github.com/jd/tenacity/pull/719) is the same for a negative setting, which was found
    out at the first retry. NaN is worse: it is neither below zero nor above the cap, and no
    comparison ends the sleep.
    """
    check_unfit_delay_is_refused(make, host)


UNFIT: list[Any] = [-1, -0.001, math.nan, -math.inf, timedelta(seconds=-1)]


@pytest.mark.parametrize("unfit", UNFIT, ids=repr)
def test_negative_and_nan_settings(unfit: Any) -> None:
    """tenacity #719, stamina #153 (https://github.com/hynek/stamina/pull/153): they are refused
    where they are given, in words, and not in the middle of a wait.
    """
    for family in BOUNDED:
        for arguments in ((unfit,), (0.01, unfit), ((unfit, 0.5),)):
            with pytest.raises(ValueError, match=r"initial|cap"):
                family(*arguments)
    for face in (BackoffLock, ThreadBackoffLock):
        with pytest.raises(ValueError, match="timeout"):
            face(timeout=unfit)
        with pytest.raises(ValueError, match="fair_after"):
            face(fair_after=unfit)


def test_negative_and_nan_delays_bites() -> None:
    with pytest.raises(ValueError, match=r"^sleep length must be non-negative$"):
        time.sleep(-0.001)  # which lock, what schedule?
    assert not math.nan < 0.0  # so a check of that kind lets it pass
    assert not math.nan > CAP


# -- sleeping past the deadline --------------------------------------------------------------------


@pairs([*FACES, STRICT], [ON_THREADS, ON_ASYNCIO, ON_TRIO])
def test_sleeping_past_the_deadline(make: Make, host: Host) -> None:
    """shunt #416 (https://github.com/pleaseai/shunt/pull/416): a lock that was polled until its
    deadline slept ``min(interval, timeout)`` in every round, and not what was left of the timeout;
    so its last sleep ended after the deadline.
    """
    check_deadline_clips_the_last_nap(make, host)
    check_no_nap_passes_the_deadline(make, host)


def test_sleeping_past_the_deadline_to_the_last_digit() -> None:
    """shunt #416 in virtual time: the naps add up to the timeout."""
    world = VirtualWorld()
    assert world.take()
    began = world.clock.now
    with pytest.raises(AcquireTimeout):
        for nap in world.contend(world.waiter(), repeat(0.3), timeout=1.0):
            world.clock.now += nap
    assert world.clock.now - began == pytest.approx(1.0, abs=1e-9)


def test_sleeping_past_the_deadline_bites() -> None:
    now, deadline, interval = 0.0, 1.0, 0.3
    while now < deadline:
        now += min(interval, deadline)
    assert now > deadline + 0.1


# -- a schedule's state is shared between waiters --------------------------------------------------

LISTED = Sequence([0.001, 0.002, 0.003]).then(Constant(0.004))


def check_each_waiter_begins_at_the_beginning(
    make: Make, host: Host, schedule: Schedule = LISTED
) -> None:
    """Waiters side by side, and one after the other, on two locks with one and the same schedule.

    Nothing is reserved, so that a nap is the delay as it stands in the schedule.
    """
    seen: dict[str, list[float]] = {}

    def note(details: WaitDetails) -> None:
        seen.setdefault(f"{details.waiter} of {details.lock}", []).append(details.delay)

    async def main(world: World) -> None:
        subjects = [
            make(schedule=schedule, fair_after=None, on_wait=note, name=name)
            for name in ("one", "two")
        ]
        for turn in range(2):
            for subject in subjects:
                async with world.hold(subject):
                    handles = [
                        world.spawn(visitor(subject, Ledger()), f"{turn}-{place}")
                        for place in range(3)
                    ]
                    await queued(world, subject, 3)
                    await world.until(
                        lambda: all(len(delays) >= 5 for delays in seen.values()), "five naps each"
                    )
                await world.join(handles)
                await assert_at_rest(world, subject)
        assert len(seen) == 12
        for waiter, delays in seen.items():
            assert delays[:5] == [0.001, 0.002, 0.003, 0.004, 0.004], (waiter, delays)

    host.run(main)


@pairs(FACES, [ON_THREADS, ON_ASYNCIO, ON_TRIO])
def test_shared_mutable_schedule_state(make: Make, host: Host) -> None:
    """tenacity #130 (https://github.com/jd/tenacity/pull/130): ``wait_chain`` used itself up, so
    each call went on where the one before it had stopped. inspect_k8s_sandbox #182
    (https://github.com/UKGovernmentBEIS/inspect_k8s_sandbox/pull/182): calls side by side spoilt
    each other's state, for they shared one `AsyncRetrying`.
    """
    check_each_waiter_begins_at_the_beginning(make, host)


class Shared(Schedule):
    """A rule that hands out one and the same iterator."""

    def __init__(self) -> None:
        self._delays = LISTED.delays()

    def delays(self, rng: Rng | None = None) -> Iterator[float]:
        return self._delays


def test_shared_mutable_schedule_state_bites() -> None:
    with pytest.raises(AssertionError, match="0-0 of one|0-1 of one|0-2 of one"):
        check_each_waiter_begins_at_the_beginning(FACES[0], ON_ASYNCIO, Shared())


def test_a_schedule_is_a_value() -> None:
    """The reason why nothing can be shared: it is frozen, and each acquisition has its iterator."""
    schedule = Exponential(0.01, cap=1.0, jitter=0.0)
    first, second = schedule.delays(), schedule.delays()
    ahead = list(islice(first, 10))
    assert list(islice(second, 10)) == ahead
    assert next(first) == next(second) == 1.0
    assert schedule == Exponential(0.01, cap=1.0, jitter=0.0)
