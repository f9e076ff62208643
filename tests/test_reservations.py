"""Reservations of the contention machine, on a virtual clock."""

from __future__ import annotations

from backofflock._contention import GRACE

from .virtual import acquires, taken


def test_a_free_key_is_reserved_for_the_first_waiter() -> None:
    world = taken()
    policy = world.napping()
    world.release()
    assert not world.take()
    assert acquires(policy)


def test_the_holder_that_just_released_queues_behind_the_waiters() -> None:
    world = taken()
    policy = world.napping()
    world.release()
    assert not world.take()
    again = world.contend(world.waiter())
    assert not acquires(again)
    assert acquires(policy)
    world.release()
    assert acquires(again)


def test_waiters_are_served_in_the_order_of_joining() -> None:
    world = taken()
    policies = [world.napping() for _ in range(5)]
    for turn in range(5):
        world.release()
        late = [other for other in policies[turn + 1 :] if acquires(other)]
        assert late == []
        assert acquires(policies[turn])


def test_newcomers_may_overtake_within_the_window_and_not_after_it() -> None:
    world = taken(fair_after=0.5)
    policy = world.napping()
    world.clock.now += 0.49
    world.release()
    assert world.take()
    world.clock.now += 0.02
    assert not acquires(policy)
    world.release()
    assert not world.take()
    assert acquires(policy)


def test_nothing_is_reserved_without_fair_after() -> None:
    world = taken(fair_after=None)
    policy = world.napping()
    world.clock.now += 1000.0
    world.release()
    assert world.take()
    assert not acquires(policy)


def test_a_reservation_lapses_when_the_woken_waiter_is_late() -> None:
    world = taken()
    world.napping()
    world.release()
    world.clock.now += GRACE * 0.99
    assert not world.take()
    world.clock.now += GRACE * 0.02
    assert world.take()


def test_a_reservation_lapses_when_the_napping_waiter_is_late() -> None:
    world = taken(wake_on_release=False)
    policy = world.contend(world.waiter())
    assert next(policy) == 1.0
    world.release()
    world.clock.now += 1.0 + GRACE * 0.99
    assert not world.take()
    world.clock.now += GRACE * 0.02
    assert world.take()


def test_a_lapsed_reservation_passes_to_the_next_waiter_in_line() -> None:
    world = taken()
    _stuck, second, third = (world.napping() for _ in range(3))
    world.release()
    world.clock.now += GRACE * 1.01
    assert not world.take()  # passes over the stuck one, wakes the second
    assert not acquires(third)
    assert acquires(second)


def test_a_waiter_that_was_late_and_comes_back_is_first_again() -> None:
    world = taken()
    late = world.napping()
    world.napping()
    world.release()
    world.clock.now += 1.0
    assert acquires(late)


def test_trying_renews_the_promise_of_a_waiter_that_was_late() -> None:
    world = taken()
    first, second = world.napping(), world.napping()
    world.clock.now += 5.0  # both overslept
    assert not acquires(first)  # the key is taken: it naps again, with a fresh promise
    world.machine.key.append(None)
    assert not acquires(second)
    assert acquires(first)


def test_a_holder_that_blocks_its_own_loop_cannot_overtake_the_waiter_it_made_late() -> None:
    # The waiter's nap ended while the holder kept the loop busy, so its promise has lapsed when the
    # holder releases. The wake-up must renew the reservation, or a loop of such holds starves it.
    world = taken()
    policy = world.contend(world.waiter())
    assert next(policy) == 1.0
    world.clock.now += 30.0
    world.release()
    assert not world.take()
    assert acquires(policy)


def test_a_lost_wake_up_costs_one_nap() -> None:
    world = taken()
    policy = world.contend(world.waiter())
    nap = next(policy)
    world.machine.key.append(None)  # the releaser died before it could wake anybody
    world.clock.now += nap
    assert acquires(policy)


def test_a_reservation_outlives_neither_its_waiter_nor_the_queue() -> None:
    world = taken()
    policy = world.napping()
    world.release()
    policy.close()
    assert world.take()


def test_the_shorter_of_two_windows_counts() -> None:
    world = taken()
    world.napping(world.waiter(window=1.0))
    world.clock.now += 0.5
    world.machine.key.append(None)
    assert not world.take(window=0.3)  # one with a short window may not overtake for longer
    assert world.take(window=1.0)


def test_nobody_overtakes_while_one_waits_that_must_not_be_overtaken() -> None:
    # A thread may overtake a thread for a while. A task behind that thread would pay for it.
    world = taken()
    thread = world.napping(world.waiter(window=1.0))
    world.release()
    assert world.take(window=1.0)
    task = world.napping(world.waiter(window=0.0))
    world.release()
    assert not world.take(window=1.0)
    assert acquires(thread)
    world.napping(world.waiter(window=1.0))
    world.release()
    assert not world.take(window=1.0)
    assert acquires(task)
    world.release()
    assert world.take(window=1.0)  # only one that joined after it is left


def test_a_late_first_waiter_leaves_the_next_its_own_window() -> None:
    world = taken()
    late, next_one = (world.contend(world.waiter(window=1.0)) for _ in range(2))
    next(late)
    world.clock.now += 1.5  # its promise was for 1.0
    next(next_one)
    world.machine.key.append(None)
    assert world.take(window=1.0)
