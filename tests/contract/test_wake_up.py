"""Risk: a wake-up that is lost, late or for nobody. It is advice: without it a nap is slept out."""

from __future__ import annotations

import statistics
import time

import pytest

from backofflock import Constant, WaitDetails
from backofflock._hosts import ThreadWaiter
from backofflock._hosts._asyncio import AsyncioWaiter
from backofflock._hosts._trio import TrioWaiter

from .checks import ASLEEP, Ledger, assert_at_rest, queued, visitor
from .hosts import LOOPS, TASK_HOSTS, Host, pairs
from .subjects import OVER_FACE, OVER_LOCK, THREADS, VARIANTS, Make
from .worlds import World

WAKING = [variant for variant in VARIANTS if variant.wakes]


def check_release_wakes_the_next(make: Make, host: Host) -> None:
    """Each release ends one nap of thirty seconds, and wakes no more than one waiter."""

    async def main(world: World) -> None:
        subject = make(schedule=ASLEEP)
        ledger = Ledger()
        async with world.hold(subject):
            handles = [world.spawn(visitor(subject, ledger)) for _ in range(6)]
            await queued(world, subject, 6)
        await world.join(handles)
        assert len(ledger.visits) == 6
        counted = subject.lock.statistics()
        assert counted.wakeups == 6
        assert counted.contended == 6
        assert counted.attempts == 12  # one that failed and one that was woken for, each
        await assert_at_rest(world, subject)

    host.run(main)


def check_lost_wake_up_costs_one_nap(make: Make, host: Host) -> None:
    """The waiter is not reached: by the end of its nap it tries all the same."""
    nap = 0.010

    async def main(world: World) -> None:
        subject = make(schedule=Constant(nap))
        ledger = Ledger()
        waited = []
        for _ in range(4):  # so that in the mixed worlds all take part
            async with world.hold(subject):
                handle = world.spawn(visitor(subject, ledger))
                await queued(world, subject, 1)
            begin = time.monotonic()
            await world.join([handle])
            waited.append(time.monotonic() - begin)
        assert max(waited) < 50 * nap, waited  # stalls of the machine included
        assert statistics.median(waited) < 3 * nap, waited
        await assert_at_rest(world, subject)

    host.run(main)


def check_unannounced_release_is_found(make: Make, host: Host) -> None:
    """A thread that uses the lock underneath wakes nobody: a nap later a waiter has found out."""
    nap = 0.020

    async def main(world: World) -> None:
        subject = make(schedule=Constant(nap))
        assert subject.direct is not None
        ledger = Ledger()
        for _ in range(4):
            assert subject.direct.acquire(False)
            handles = [world.spawn(visitor(subject, ledger)) for _ in range(3)]
            await queued(world, subject, 3)
            begin = time.monotonic()
            subject.direct.release()
            await world.join(handles)
            # The first naps for one delay, and it wakes the others; a stall may double that.
            assert time.monotonic() - begin < 10 * nap
        await assert_at_rest(world, subject)

    host.run(main)


def check_slow_hook_delays_only_its_own_waiter(make: Make, host: Host) -> None:
    """The hook of one waiter takes long; the naps of others in the same loop end in time.

    The other one joins after the hook, and its nap ends after the slow one's would have without
    the hook, and before it does: a timer that serves both must be set for it.
    """
    nap, hook = 0.020, 0.100

    async def main(world: World) -> None:
        def take_long(details: WaitDetails) -> None:
            if details.waiter == "slow":
                time.sleep(hook)

        subject = make(schedule=Constant(hook), on_wait=take_long)
        times = []

        async def give_up(world: World) -> None:
            begin = time.monotonic()
            assert not await world.acquire(subject, timeout=nap)
            times.append(time.monotonic() - begin)

        for _ in range(2):
            async with world.hold(subject):
                slow = world.spawn(visitor(subject, Ledger()), "slow")
                await queued(world, subject, 1)
                await world.join([world.spawn(give_up, "quick")])
            await world.join([slow])
        assert min(times) < hook / 2, times  # a stall of the machine hits one of them
        await assert_at_rest(world, subject)

    host.run(main)


@pairs(WAKING)
def test_release_wakes_the_next(make: Make, host: Host) -> None:
    check_release_wakes_the_next(make, host)


@pairs(WAKING)
def test_lost_wake_up_costs_one_nap(
    make: Make, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(waiter: object) -> bool:
        return True

    for waiter in (AsyncioWaiter, TrioWaiter, ThreadWaiter):
        monkeypatch.setattr(waiter, "wake", lose)
    check_lost_wake_up_costs_one_nap(make, host)


@pairs([OVER_LOCK, OVER_FACE], TASK_HOSTS)
def test_unannounced_release_is_found(make: Make, host: Host) -> None:
    check_unannounced_release_is_found(make, host)


@pairs([THREADS], LOOPS)
def test_slow_hook_delays_only_its_own_waiter(make: Make, host: Host) -> None:
    check_slow_hook_delays_only_its_own_waiter(make, host)
