"""Faults in the contention machine: the queue, reservations, wake-ups, limits, waiters at rest."""

from __future__ import annotations

from functools import partial

from .runner import Mutant

__all__ = ["MACHINE_FAULTS"]

fault = partial(Mutant, file="_contention.py")

CONTENTION = "tests/test_contention.py::test_"
RESERVATIONS = "tests/test_reservations.py::test_"
RESTING = "tests/test_resting.py::test_"
GAPS = "tests/test_mutant_gaps.py::test_"
A_HOLDER = "a_holder_that_blocks_its_own_loop"

MACHINE_FAULTS: tuple[Mutant, ...] = (
    # -- the queue ---------------------------------------------------------------------------------
    fault(
        "no-try-after-joining",
        fault="a release between the failed try and the joining is not seen before a nap",
        old="while not (taken := self.try_take(waiter, now, waiter.window)):",
        new="while waiter.attempt == 1 or not (\n"
        "                taken := self.try_take(waiter, now, waiter.window)\n"
        "            ):",
        killers=(f"{CONTENTION}the_try_after_joining_sees_a_release_that_came_before_it",),
    ),
    fault(
        "joins-at-the-front",
        fault="whoever comes last is first",
        old="self.queue.append(waiter)",
        new="self.queue.appendleft(waiter)",
        killers=(f"{RESERVATIONS}waiters_are_served_in_the_order_of_joining",),
    ),
    fault(
        "ticket-reused",
        fault="all waiters draw the same ticket",
        old="self.next_ticket = count().__next__",
        new="self.next_ticket = count(0, 0).__next__",
        killers=(f"{CONTENTION}naps_are_proportional_to_the_distance_from_the_front",),
    ),
    fault(
        "queued-with-the-key",
        fault="a waiter that got the key stays in the queue",
        old="            self._drop(waiter)\n            self.contended += 1",
        new="            self.contended += 1",
        killers=(f"{CONTENTION}the_try_after_joining_sees_a_release_that_came_before_it",),
    ),
    fault(
        "queued-after-giving-up",
        fault="a waiter that is cancelled or reaches a limit stays in the queue",
        old="joined = self._drop(waiter)",
        new="joined = waiter in self.queue",
        killers=(f"{CONTENTION}a_timeout_of_zero_is_one_try",),
    ),
    fault(
        "key-lost-when-interrupted",
        fault="a waiter interrupted after it took the key leaves without giving it back",
        old="if taken:  # interrupted",
        new="if False:  # interrupted",
        killers=(f"{GAPS}an_interrupt_at_any_line_of_a_wait_leaves_one_key_and_an_empty_queue",),
    ),
    fault(
        "interrupted-before-it-joined",
        fault="a waiter interrupted before it has a ticket fails for want of one",
        old="elif joined and not waiter.resting:",
        new="elif not waiter.resting:",
        killers=(f"{CONTENTION}a_waiter_interrupted_before_it_joined_can_be_abandoned",),
    ),
    fault(
        "forked-child-keeps-the-queue",
        fault="in a forked child the threads of the parent still stand in the queue",
        old="        self.queue.clear()",
        new="        pass",
        killers=(f"{GAPS}a_lock_made_anew_after_a_fork_has_no_waiters",),
    ),
    # -- reservations ------------------------------------------------------------------------------
    fault(
        "reservation-compared-the-wrong-way",
        fault="the key is reserved for whoever has not yet waited for long",
        old="waited >= window\n" + " " * 24 + "or waited >= first.window",
        new="waited < window\n" + " " * 24 + "or waited < first.window",
        killers=(f"{RESERVATIONS}newcomers_may_overtake_within_the_window_and_not_after_it",),
    ),
    fault(
        "strict-waiters-overtaken",
        fault="one that must not be overtaken is, by way of the patient one before it",
        old="\n" + " " * 24 + "or first.ticket <= self.last_strict",
        new="",
        killers=(f"{RESERVATIONS}nobody_overtakes_while_one_waits_that_must_not_be_overtaken",),
    ),
    fault(
        "no-grace",
        fault="a waiter is passed over the moment its promise is due",
        old="self.grace = GRACE",
        new="self.grace = 0.0",
        killers=(f"{RESERVATIONS}a_reservation_lapses_when_the_woken_waiter_is_late",),
    ),
    fault(
        "reservation-never-lapses",
        fault="with nobody alive in the queue, the key is kept all the same",
        old="            if keeper is None or keeper is waiter:\n                return False",
        new="            if keeper is None:\n                return True\n"
        "            if keeper is waiter:\n                return False",
        killers=(f"{RESERVATIONS}a_reservation_lapses_when_the_woken_waiter_is_late",),
    ),
    fault(
        "late-ones-not-passed-over",
        fault="the key is kept for the first in the queue, late or not",
        old="while (waiter := queue[place]).woken_at < oldest or waiter.pledge.promise < oldest:",
        new="while (waiter := queue[place]) is None:",
        killers=(f"{RESERVATIONS}a_lapsed_reservation_passes_to_the_next_waiter_in_line",),
    ),
    fault(
        "window-of-the-next-compared-the-wrong-way",
        fault="behind a late waiter, the next cannot be overtaken within its window",
        old="if waited < window and waited < keeper.window:",
        new="if waited >= window and waited >= keeper.window:",
        killers=(f"{RESERVATIONS}a_late_first_waiter_leaves_the_next_its_own_window",),
    ),
    fault(
        "promise-not-made",
        fault="a waiter naps without promising when it will try again",
        old="        waiter.promise(now + slept)\n        if observe is None:",
        new="        if observe is None:",
        killers=(f"{RESERVATIONS}a_reservation_lapses_when_the_napping_waiter_is_late",),
    ),
    # -- wake-ups ----------------------------------------------------------------------------------
    fault(
        "wakes-the-woken",
        fault="a second wake-up goes to one that has not answered the first",
        old="            if waiter.woken_at != NEVER:\n                return\n",
        new="",
        killers=(f"{CONTENTION}a_release_wakes_the_first_waiter_and_nobody_else",),
    ),
    fault(
        "wake-up-not-cleared-before-the-try",
        fault="a waiter that answered its wake-up in vain counts as woken for good",
        old="                waiter.woken_at = NEVER  # before the try",
        new="                # before the try",
        killers=(f"{CONTENTION}a_woken_waiter_that_loses_can_be_woken_again",),
    ),
    fault(
        "wake-up-ends-at-a-closed-loop",
        fault="the wake-up of a waiter that can never run again is not passed to the next",
        old="            self._drop(waiter)  # its loop is closed",
        new="            self._drop(waiter)\n            return",
        killers=(
            f"{CONTENTION}a_waiter_whose_loop_is_closed_is_dropped_and_the_next_is_woken_at_once",
        ),
    ),
    fault(
        "lapsed-promise-not-renewed",
        fault="the holder that made a waiter late overtakes it again and again",
        old="                pledge.promise = now\n",
        new="                pass\n",
        killers=(f"{RESERVATIONS}{A_HOLDER}_cannot_overtake_the_waiter_it_made_late",),
    ),
    fault(
        "the-late-are-not-woken",
        fault="where all in the queue are late, a release wakes none of them",
        old="self._keeper(now) or self._first_unwoken()",
        new="self._keeper(now)",
        killers=(f"{RESERVATIONS}{A_HOLDER}_cannot_overtake_the_waiter_it_made_late",),
    ),
    fault(
        "lost-wake-up-not-made-good",
        fault="one that finds the key reserved, and nobody on the way to it, wakes nobody",
        old="        self.wake_next(now)\n        return True",
        new="        return True",
        killers=(f"{GAPS}one_that_finds_the_key_reserved_for_a_late_waiter_wakes_the_next",),
    ),
    fault(
        "leaves-without-waking-the-next",
        fault="a waiter cancelled after its wake-up takes it along",
        old="            self.wake_next(waiter.clock())",
        new="            pass",
        killers=(f"{CONTENTION}a_waiter_that_leaves_with_the_key_free_wakes_the_next",),
    ),
    # -- limits and naps ---------------------------------------------------------------------------
    fault(
        "last-nap-not-clipped",
        fault="the last nap is as long as the schedule says, past the deadline",
        old="return min(delay, left)",
        new="return delay",
        killers=(f"{CONTENTION}the_deadline_clips_the_last_nap_and_then_there_is_one_last_try",),
    ),
    fault(
        "no-last-try-at-the-deadline",
        fault="a waiter whose deadline has come gives up without another look",
        old="taken := self.try_take(waiter, now, waiter.window)",
        new="taken := now < waiter.deadline\n"
        "                and self.try_take(waiter, now, waiter.window)",
        killers=(f"{CONTENTION}the_last_try_at_the_deadline_may_succeed",),
    ),
    fault(
        "one-nap-past-the-deadline",
        fault="a waiter exactly at its deadline naps and tries once more",
        old="left <= 0.0)",
        new="left < 0.0)",
        killers=(f"{CONTENTION}the_deadline_clips_the_last_nap_and_then_there_is_one_last_try",),
    ),
    fault(
        "max-attempts-counts-naps",
        fault="there is one try more than max_attempts",
        old="attempt >= max_attempts:",
        new="attempt > max_attempts:",
        killers=(f"{CONTENTION}max_attempts_counts_tries",),
    ),
    fault(
        "nan-accepted",
        fault="a delay that is not a number passes, and its nap has no end",
        old="elif not 0.0 <= delay <= LONGEST:",
        new="elif delay < 0.0 or delay > LONGEST:",
        killers=(
            f"{CONTENTION}a_delay_that_cannot_be_slept_is_refused_and_the_waiter_leaves[nan]",
        ),
    ),
    fault(
        "naps-not-proportional",
        fault="those far behind try as often as the first",
        old="delay *= 1 + self.ahead_of(waiter)",
        new="pass",
        killers=(f"{CONTENTION}naps_are_proportional_to_the_distance_from_the_front",),
    ),
    fault(
        "later-nap-not-clipped",
        fault="a nap that begins after other work ends after the deadline",
        old="delay = max(0.0, min(delay, waiter.deadline - now))",
        new="pass",
        killers=(f"{CONTENTION}a_nap_decided_earlier_is_clipped_to_what_is_left_of_the_deadline",),
    ),
    fault(
        "timeout-counted-twice",
        fault="a timeout counts as a cancellation too",
        old="            else:\n                self.cancellations += 1",
        new="            self.cancellations += 1",
        killers=(f"{CONTENTION}what_is_counted",),
    ),
    # -- waiters at rest ---------------------------------------------------------------------------
    fault(
        "rests-though-its-tries-are-counted",
        fault="a waiter that was given max_attempts rests and makes none",
        old="            and limits[1] is None\n",
        new="",
        killers=(f"{RESTING}who_does_not_rest[its-tries-are-counted]",),
    ),
    fault(
        "rests-though-naps-are-skipped",
        fault="in a test that skips all naps, those behind another sleep on",
        old="            and not NAPS.skipping\n",
        new="",
        killers=(f"{RESTING}nobody_rests_while_a_test_skips_the_naps",),
    ),
    fault(
        "rests-behind-nobody",
        fault="a waiter that stands alone leaves the tries to nobody",
        old="            and len(self.queue) > 0\n",
        new="",
        killers=(f"{RESTING}who_joins_after_all_have_given_up_tries_for_itself",),
    ),
    fault(
        "rest-of-a-thread-past-the-deadline",
        fault="a thread rests for its place in the queue, whatever the deadline",
        old="min(len(self.queue) * REST + now, waiter.deadline)",
        new="len(self.queue) * REST + now",
        killers=(f"{RESTING}one_that_nobody_looks_after_rests_for_no_longer_than_its_time_limit",),
    ),
    fault(
        "rest-that-nobody-ends",
        fault="a thread rests for ever, should its wake-up be lost",
        old="if waiter.is_watched:",
        new="if True:",
        killers=(f"{RESTING}one_that_nobody_looks_after_rests_for_its_place_in_the_queue",),
    ),
    fault(
        "rest-past-the-deadline",
        fault="a rest has no end, whatever the deadline",
        old="yield NEVER if waiter.deadline == NEVER else waiter.deadline - now",
        new="yield NEVER",
        killers=(f"{RESTING}a_rest_ends_at_the_deadline_and_then_there_is_one_last_try",),
    ),
    fault(
        "back-to-rest",
        fault="a waiter that is to try in the place of another rests again",
        old="                    waiter.resting = False  # for good",
        new="                    # for good",
        killers=(f"{RESTING}whoever_ends_a_rest_leaves_the_tries_to_it",),
    ),
    fault(
        "tries-not-passed-on",
        fault="the one that tried for all gives up and tells none of them",
        old="            self._end_rest()",
        new="            pass",
        killers=(f"{GAPS}one_that_gives_up_has_another_try_in_its_place",),
    ),
    fault(
        "tries-passed-on-to-a-closed-loop",
        fault="the one that gives up has one try in its place that will never run",
        old="while (first := self.queue[0]).resting and not first.wake():",
        new="while (first := self.queue[0]).resting and first.wake() is None:",
        killers=(f"{GAPS}one_whose_loop_is_closed_tries_in_nobodys_place",),
    ),
)
