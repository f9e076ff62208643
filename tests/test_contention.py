"""The contention machine on a virtual clock: limits, the queue, wake-ups."""

from __future__ import annotations

import math

import pytest

from backofflock import AcquireTimeout, WaitDetails
from backofflock._contention import GRACE
from backofflock._waiter import Waiter

from .virtual import World, acquires, ignore, taken


def test_the_try_after_joining_sees_a_release_that_came_before_it() -> None:
    world = World()
    policy = world.contend(world.waiter())  # the caller's own try had failed
    assert acquires(policy)
    assert not world.machine.key
    assert not world.machine.queue


def test_a_nap_is_the_schedules_delay_and_each_nap_ends_in_one_try() -> None:
    world = taken()
    policy = world.contend(world.waiter(), iter([0.5, 0.25, 2.0]))
    assert next(policy) == 0.5
    world.clock.now += 0.5
    assert next(policy) == 0.25
    world.machine.key.append(None)  # freed without a wake-up, as by a foreign holder
    world.clock.now += 0.25
    assert acquires(policy)


def test_the_deadline_clips_the_last_nap_and_then_there_is_one_last_try() -> None:
    world = taken()
    policy = world.contend(world.waiter(), timeout=1.75)
    assert next(policy) == 1.0
    world.clock.now += 1.0
    assert next(policy) == 0.75
    world.clock.now += 0.75
    with pytest.raises(AcquireTimeout) as caught:
        next(policy)
    assert (caught.value.attempts, caught.value.waited) == (3, 1.75)
    assert caught.value.reason == "timeout=1.75"
    assert not world.machine.queue


def test_the_last_try_at_the_deadline_may_succeed() -> None:
    world = taken(wake_on_release=False)
    policy = world.contend(world.waiter(), timeout=0.5)
    assert next(policy) == 0.5
    world.clock.now += 0.5
    world.release()
    assert acquires(policy)


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_max_attempts_counts_tries(tries: int) -> None:
    world = taken()
    policy = world.contend(world.waiter(), max_attempts=tries)
    for _ in range(tries - 1):
        assert not acquires(policy)
    with pytest.raises(AcquireTimeout, match=f"max_attempts={tries}") as caught:
        next(policy)
    assert caught.value.attempts == tries


def test_a_timeout_of_zero_is_one_try() -> None:
    world = taken()
    with pytest.raises(AcquireTimeout, match="after 1 attempt "):
        next(world.contend(world.waiter(), timeout=0.0))
    assert not world.machine.queue


def test_an_exhausted_schedule_gives_up() -> None:
    world = taken()
    policy = world.contend(world.waiter(), iter([0.1]))
    assert next(policy) == 0.1
    with pytest.raises(AcquireTimeout, match="the schedule is exhausted"):
        next(policy)


@pytest.mark.parametrize("delay", [math.nan, math.inf, -0.001, 1e10])
def test_a_delay_that_cannot_be_slept_is_refused_and_the_waiter_leaves(delay: float) -> None:
    world = taken()
    with pytest.raises(ValueError, match="gave a delay of") as caught:
        next(world.contend(world.waiter(), iter([delay])))
    assert repr(delay) in str(caught.value)
    assert not world.machine.queue


def test_naps_are_proportional_to_the_distance_from_the_front() -> None:
    world = taken()
    policies = [world.contend(world.waiter(), observe=ignore) for _ in range(4)]
    assert [next(policy) for policy in policies] == [1.0, 2.0, 3.0, 4.0]
    policies[0].close()
    world.clock.now += 2.0
    assert next(policies[1]) == 1.0  # it is the first now


def test_naps_are_not_proportional_where_nothing_is_reserved() -> None:
    world = taken(fair_after=None)
    policies = [world.contend(world.waiter()) for _ in range(3)]
    assert [next(policy) for policy in policies] == [1.0, 1.0, 1.0]


def test_a_release_wakes_the_first_waiter_and_nobody_else() -> None:
    world = taken()
    first, second = world.waiter(), world.waiter()
    policies = [world.napping(first), world.napping(second)]
    world.release()
    world.machine.wake_next(world.clock.now)  # one wake-up is outstanding, so this adds none
    assert (first.wakeups, second.wakeups) == (1, 0)
    assert acquires(policies[0])
    world.release()
    assert (first.wakeups, second.wakeups) == (1, 1)


def test_without_wake_on_release_nobody_is_woken() -> None:
    world = taken(wake_on_release=False)
    waiter = world.waiter()
    policy = world.napping(waiter)
    world.release()
    assert waiter.wakeups == 0
    assert acquires(policy)


def test_a_woken_waiter_that_loses_can_be_woken_again() -> None:
    world = taken(fair_after=None)
    waiter = world.waiter()
    policy = world.napping(waiter)
    world.release()
    assert world.take()  # somebody barges in before it
    assert not acquires(policy)
    world.release()
    assert waiter.wakeups == 2
    assert acquires(policy)


def test_a_woken_waiter_that_is_late_does_not_keep_the_next_one_asleep() -> None:
    world = taken()
    first, second = world.waiter(), world.waiter()
    policies = [world.napping(first), world.napping(second)]
    world.release()
    world.clock.now += GRACE * 1.01
    assert not acquires(world.contend(world.waiter()))  # a newcomer finds the key free, reserved
    assert (first.wakeups, second.wakeups) == (1, 1)
    assert acquires(policies[1])


def test_a_waiter_that_leaves_with_the_key_free_wakes_the_next() -> None:
    world = taken()
    first, second = world.waiter(), world.waiter()
    policies = [world.napping(first), world.napping(second)]
    world.release()
    policies[0].close()  # cancelled after its wake-up
    assert second.wakeups == 1
    assert world.machine.cancellations == 1


def test_a_waiter_that_leaves_a_taken_lock_wakes_nobody_but_one_that_rests_behind_it() -> None:
    world = taken()
    waiters = [world.waiter() for _ in range(3)]
    policies = [world.napping(waiter) for waiter in waiters]
    policies[0].close()
    assert [waiter.wakeups for waiter in waiters] == [0, 1, 0]
    assert not acquires(policies[1])  # it tries in the place of the first
    policies[1].close()
    assert [waiter.wakeups for waiter in waiters] == [0, 1, 1]
    assert not acquires(policies[2])
    last = world.napping(world.waiter())
    last.close()  # it rested
    assert [waiter.wakeups for waiter in waiters] == [0, 1, 1]
    assert world.machine.wakeups == 0  # of releases


def test_a_waiter_whose_loop_is_closed_is_dropped_and_the_next_is_woken_at_once() -> None:
    world = taken()
    dead, alive = world.waiter(), world.waiter()
    dead_policy, policy = world.napping(dead), world.napping(alive)
    dead.dead = True
    world.release()
    assert alive.wakeups == 1
    assert list(world.machine.queue) == [alive]
    dead_policy.close()  # its coroutine is collected later; by then it has long left
    assert list(world.machine.queue) == [alive]
    assert acquires(policy)


def test_an_error_of_the_observer_leaves_the_queue_and_the_key_alone() -> None:
    world = taken()

    def fail(details: WaitDetails) -> None:
        raise LookupError("the hook failed")

    with pytest.raises(LookupError, match="the hook failed"):
        next(world.contend(world.waiter(), observe=fail))
    assert not world.machine.queue
    assert not world.machine.key  # still with its holder


def test_the_observer_is_told_before_each_nap() -> None:
    world = taken()
    world.napping(world.waiter("first"))
    seen: list[WaitDetails] = []
    policy = world.contend(world.waiter("second"), timeout=5.0, observe=seen.append)
    next(policy)
    world.clock.now += 2.0
    next(policy)
    assert seen == [
        WaitDetails("a lock", "second", 1, 2.0, 0.0, 5.0, 1),
        WaitDetails("a lock", "second", 2, 2.0, 2.0, 3.0, 1),
    ]


def test_a_check_that_raises_ends_the_wait_after_a_failed_try() -> None:
    seen: list[tuple[int, float]] = []

    def check(waiter: Waiter, now: float) -> None:
        seen.append((waiter.attempt, now - waiter.since))
        if waiter.attempt == 2:
            raise LookupError("hopeless")

    world = taken(check=check)
    policy = world.napping()
    world.clock.now += 0.5
    with pytest.raises(LookupError, match="hopeless"):
        next(policy)
    assert seen == [(1, 0.0), (2, 0.5)]
    assert not world.machine.queue


def test_a_nap_decided_earlier_is_clipped_to_what_is_left_of_the_deadline() -> None:
    world = taken()
    waiter = world.waiter()
    policy = world.contend(waiter, timeout=1.5)
    delay = next(policy)
    assert delay == 1.0
    world.clock.now += 1.0  # the caller did other work
    assert world.machine.promise_anew(waiter, delay) == 0.5
    assert waiter.pledge.promise == world.clock.now + 0.5
    world.clock.now += 5.0
    assert world.machine.promise_anew(waiter, delay) == 0.0


def test_what_is_counted() -> None:
    world = taken()
    winner, loser, quitter = (
        world.contend(world.waiter()),
        world.contend(world.waiter(), timeout=1.0),
        world.contend(world.waiter()),
    )
    for policy in (winner, loser, quitter):
        next(policy)
    world.clock.now += 1.0
    with pytest.raises(AcquireTimeout):
        next(loser)
    quitter.close()
    world.clock.now += 0.5
    world.release()
    assert acquires(winner)
    machine = world.machine
    assert (machine.contended, machine.timeouts, machine.cancellations) == (1, 1, 1)
    assert machine.tries == 2 + 2 + 1
    assert (machine.wakeups, machine.total_wait, machine.longest_wait) == (1, 1.5, 1.5)


def test_a_waiter_interrupted_before_it_joined_can_be_abandoned() -> None:
    world = taken()
    waiter = world.waiter()
    policy = world.contend(waiter)  # not one step of it has been taken
    world.machine.abandon(policy, waiter)
    assert not world.machine.queue
    sleeper = world.waiter()
    sleeping = world.napping(sleeper)
    world.machine.key.append(None)
    world.machine.abandon(policy, waiter)  # it may be the last to see that the key is free
    assert sleeper.wakeups == 1
    assert acquires(sleeping)
    behind = world.waiter()
    world.napping(behind)
    world.machine.abandon(policy, waiter)  # it has made no tries that another had to go on with
    assert behind.wakeups == 0
