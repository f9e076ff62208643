"""Faults in the hosts, which nap and wake, in the schedules, and in errors and records."""

from __future__ import annotations

from functools import partial

from .runner import Mutant

__all__ = ["HOST_FAULTS", "SCHEDULE_FAULTS"]

on_asyncio = partial(Mutant, file="_hosts/_asyncio.py")
on_doorbell = partial(Mutant, file="_hosts/_doorbell.py")
on_trio = partial(Mutant, file="_hosts/_trio.py")
on_threads = partial(Mutant, file="_hosts/_thread.py")
in_schedules = partial(Mutant, file="schedules.py")

DOORBELL = "tests/test_doorbell.py::test_"
HOSTS = "tests/test_hosts.py::test_"
RESTING = "tests/test_resting.py::test_"
GAPS = "tests/test_mutant_gaps.py::test_"
DEAD_LOOP = "tests/contract/test_dead_loop.py::test_"
TABLE = "tests/test_schedules.py::test_the_delays_are_those_of_the_table"
SCHEDULES = "tests/test_schedules.py::test_"
SATURATION = "tests/test_schedules_saturation.py::test_"
VALUES = "tests/test_schedules_values.py::test_"

HOST_FAULTS: tuple[Mutant, ...] = (
    on_asyncio(
        "a-nap-of-nothing-keeps-the-loop",
        fault="a delay of 0 does not let other tasks run",
        old="            return asyncio.sleep(0)",
        new="            over: Future[None] = Future(loop=self.alarm.loop)\n"
        "            over.set_result(None)\n"
        "            return over",
        killers=(f"{GAPS}a_nap_of_nothing_lets_the_others_run[asyncio]",),
    ),
    on_trio(
        "a-nap-of-nothing-is-no-checkpoint",
        fault="a delay of 0 does not let other tasks of trio run",
        old="            await trio.lowlevel.checkpoint()\n            return",
        new="            return",
        killers=(f"{GAPS}a_nap_of_nothing_lets_the_others_run[trio]",),
    ),
    on_asyncio(
        "wake-up-before-the-nap-slept-over",
        fault="a task woken between its try and its nap sleeps the nap out",
        old="if seconds <= 0.0 or self.woken_at != NEVER:",
        new="if seconds <= 0.0:",
        killers=(f"{GAPS}a_wake_up_between_the_try_and_the_nap_is_not_slept_over[asyncio]",),
    ),
    on_asyncio(
        "closed-loop-passes-for-awake",
        fault="waking a waiter whose loop is closed counts as a wake-up",
        old="        if self.gone():\n            return False",
        new="        if self.gone():\n            return True",
        killers=(
            f"{DEAD_LOOP}waking_a_closed_loop_drops_the_waiter[BackoffLock-asyncio-asyncio-dead]",
        ),
    ),
    on_trio(
        "ended-run-passes-for-awake",
        fault="the same for a run of trio that is over",
        old="        except trio.RunFinishedError:\n            return False",
        new="        except trio.RunFinishedError:\n            return True",
        killers=(
            f"{DEAD_LOOP}waking_a_closed_loop_drops_the_waiter[BackoffLock-asyncio-trio-dead]",
        ),
    ),
    on_trio(
        "wakes-one-that-was-cancelled",
        fault="a waiter whose nap was cancelled still counts as parked, and is rescheduled twice",
        old="        self._parked = False\n        return Abort.SUCCEEDED",
        new="        return Abort.SUCCEEDED",
        killers=(f"{GAPS}a_nap_of_trio_that_was_cancelled_can_be_woken_to_no_effect",),
    ),
    on_asyncio(
        "naps-compared-with-each-other",
        fault="two naps that end at the same instant cannot stand in one heap",
        old="(now + seconds, self._serial(), nap)",
        new="(now + seconds, 0, nap)",
        killers=(f"{HOSTS}two_naps_of_a_waiter_may_end_at_the_same_time",),
    ),
    on_asyncio(
        "cut-naps-pile-up",
        fault="naps that were cut short stay in the alarm until they would have ended",
        old="if len(self._heap) >= self._purge_at:",
        new="if False:",
        killers=(f"{GAPS}naps_that_were_cut_short_make_room_for_others",),
    ),
    on_asyncio(
        "alarms-of-closed-loops-kept",
        fault="each loop that ever waited leaves an alarm behind",
        old="            if other.is_closed():",
        new="            if False:",
        killers=(f"{HOSTS}the_alarms_of_closed_loops_are_forgotten",),
    ),
    on_asyncio(
        "alarm-not-set-forward",
        fault="a nap that ends before the alarm rings waits for the alarm",
        old="if self._timer is None or when < self._rings_at:",
        new="if self._timer is None:",
        killers=(f"{GAPS}when_the_first_task_gives_up_the_next_tries_on_and_needs_no_watch",),
    ),
    on_asyncio(
        "alarm-set-by-the-promise",
        fault="what a waker wrote, late, keeps the alarm from being set forward",
        old="if self._timer is None or when < self._rings_at:",
        new="if self._timer is None or when < self.promise:",
        killers=(
            f"{HOSTS}a_waker_that_renews_the_promise_late_does_not_keep_the_alarm_from_ringing",
        ),
    ),
    on_asyncio(
        "closed-loop-not-noticed",
        fault="waiters whose loop was closed after their wake-up stay in the queue",
        old="return self.alarm.loop.is_closed()",
        new="return False",
        killers=(f"{HOSTS}a_waiter_whose_loop_closes_after_its_wake_up_is_dropped",),
    ),
    on_asyncio(
        "woken-a-turn-later",
        fault="a task that a thread wakes goes on in the turn after, when the loop has slept again",
        old="alarm.post(self.go_on)",
        new="alarm.post(self.end_nap)",
        killers=(f"{HOSTS}a_task_woken_by_a_thread_goes_on_in_that_turn_of_its_loop",),
    ),
    on_doorbell(
        "rings-lost-with-their-loop",
        fault="a call that ends the loop takes with it the calls that came after it",
        old="if calls:  #",
        new="if False:  #",
        killers=(f"{DOORBELL}a_call_that_ends_the_loop_leaves_the_rest_to_its_next_turn",),
    ),
    on_doorbell(
        "ring-without-a-sound",
        fault="a wake-up that is interrupted waits until the loop is rung for another",
        old="        try:\n            self._calls.append(call)\n        finally:",
        new="        if not self._calls.append(call):",
        killers=(f"{DOORBELL}a_ring_that_is_interrupted_is_heard_if_it_has_a_call",),
    ),
    on_doorbell(
        "doorbell-for-each-lock",
        fault="each lock that a thread and a task share costs a descriptor",
        old="bell = None if known is None else known()",
        new="bell = None",
        killers=(f"{DOORBELL}all_locks_of_a_loop_share_one_descriptor_which_goes_with_the_loop",),
    ),
    on_doorbell(
        "doorbell-kept-by-its-calls",
        fault="a loop that is closed before it answers is kept for good, with all that waits on it",
        old="_DOORBELLS[loop] = ref(bell)",
        new="_DOORBELLS[loop] = lambda: bell",
        killers=(f"{DOORBELL}a_loop_that_is_closed_before_it_answers_is_forgotten",),
    ),
    on_doorbell(
        "doorbell-left-open",
        fault="each loop on which tasks have waited leaves a descriptor open for good",
        old="            os.close(descriptor)",
        new="            pass",
        killers=(f"{DOORBELL}all_locks_of_a_loop_share_one_descriptor_which_goes_with_the_loop",),
    ),
    on_doorbell(
        "no-lock-without-descriptors",
        fault="in a process that may open no more files nobody can wait for a lock",
        old="except OSError:",
        new="except ZeroDivisionError:",
        killers=(f"{DOORBELL}a_process_that_may_open_no_more_files_wakes_its_tasks_all_the_same",),
    ),
    on_asyncio(
        "woken-twice",
        fault="a task that a thread wakes is woken again, out of what it does then",
        old="        future.remove_done_callback(step)\n",
        new="",
        killers=(f"{HOSTS}a_task_woken_by_a_thread_goes_on_in_that_turn_of_its_loop",),
    ),
    on_asyncio(
        "woken-in-a-foreign-context",
        fault="a task that a thread wakes runs in the context of that thread",
        old="context.run(step, future)",
        new="step(future)",
        killers=(f"{HOSTS}a_task_woken_by_a_thread_goes_on_in_that_turn_of_its_loop",),
    ),
    on_asyncio(
        "rest-never-ended-by-the-alarm",
        fault="a waiter at rest whose wake-up was lost rests for ever",
        old="                first.end_nap()  # no progress since the last time",
        new="                pass",
        killers=(f"{RESTING}a_lost_wake_up_of_one_that_rests_is_made_up_for_by_the_alarm",),
    ),
    on_threads(
        "second-wake-up-fails",
        fault="waking a thread that has not used an earlier wake-up raises in the waker",
        old="        except RuntimeError:\n            pass",
        new="        except RuntimeError:\n            raise",
        killers=(f"{HOSTS}a_wake_up_before_the_nap_ends_it_at_once",),
    ),
    on_threads(
        "first-nap-not-slept",
        fault="the gate of a thread is open when it comes, so its first nap ends at once",
        old="        self._gate.acquire()\n",
        new="",
        killers=(f"{GAPS}a_threads_first_nap_is_slept",),
    ),
    Mutant(
        "owner-on-a-closed-loop-alive",
        "_hosts/__init__.py",
        "an owner that can never run again, its loop being closed, is waited for",
        old="return task.done() or task.get_loop().is_closed()",
        new="return task.done()",
        killers=(f"{GAPS}a_task_of_a_closed_loop_has_ended",),
    ),
)

SCHEDULE_FAULTS: tuple[Mutant, ...] = (
    in_schedules(
        "jitter-after-the-cap",
        fault="jitter is added and then clamped, so that waiters pile up at the cap",
        old="yield cap * (1.0 - jitter * draw())",
        new="yield min(cap, cap * (1.0 + jitter * (0.5 - draw())))",
        killers=(f"{SCHEDULES}at_the_cap_delays_are_spread_evenly_and_do_not_pile_up",),
    ),
    in_schedules(
        "cap-ignored",
        fault="ceilings grow past the cap",
        old="if ceiling >= cap:",
        new="if ceiling == math.inf:",
        killers=(TABLE,),
    ),
    in_schedules(
        "power-computed",
        fault="the ceiling is initial * factor ** k, which overflows",
        old="return accumulate(repeat(self.factor), mul, initial=initial)",
        new="return (initial * self.factor**k for k in count())",
        killers=(f"{SATURATION}no_number_of_doublings_overflows",),
    ),
    in_schedules(
        "range-not-drawn",
        fault="every contender has the low end of the range",
        old="return self._low + self._width * rng.random() if self._width else self._low",
        new="return self._low",
        killers=(f"{SCHEDULES}a_range_is_drawn_once_for_each_acquisition_and_kept",),
    ),
    in_schedules(
        "first-linear-delay-is-a-step",
        fault="the linear back-off begins with its step and not with 0",
        old="return (k * initial for k in count())",
        new="return (k * initial for k in count(1))",
        killers=(TABLE,),
    ),
    in_schedules(
        "quadratic-doubles",
        fault="the tutorials' back-off is exponential indeed",
        old="return (k * k * initial for k in count())",
        new="return (2**k * initial for k in count())",
        killers=(TABLE,),
    ),
    in_schedules(
        "decorrelated-clamped",
        fault="the draw is clamped at the cap and not the range, so that waiters pile up there",
        old="delay = initial + (min(self._top, self.factor * delay) - initial) * rng.random()",
        new="delay = min(self._top, initial + (self.factor * delay - initial) * rng.random())",
        killers=(f"{SCHEDULES}the_default_factor_of_decorrelated_does_not_pile_up_either",),
    ),
    in_schedules(
        "one-more-than-taken",
        fault="take(n) gives n + 1 delays",
        old="islice(self.schedule.delays(rng), self.n)",
        new="islice(self.schedule.delays(rng), self.n + 1)",
        killers=(f"{VALUES}take_and_then_nest",),
    ),
    in_schedules(
        "endless-passes-for-ending",
        fault="a schedule that goes on with an endless one is said to give up",
        old="return self.first.gives_up and self.second.gives_up",
        new="return self.first.gives_up or self.second.gives_up",
        killers=(f"{VALUES}which_schedules_make_a_waiter_give_up",),
    ),
    Mutant(
        "copies-lose-their-facts",
        "errors.py",
        "an error that was pickled has a text and nothing else",
        old="    vars(error).update(facts)\n",
        new="",
        killers=("tests/test_errors.py::test_copies_by_every_means_say_and_carry_the_same",),
    ),
    Mutant(
        "details-can-be-changed",
        "records.py",
        "a hook can write into what the next one reads",
        old="@dataclass(frozen=True, slots=True)\nclass WaitDetails:",
        new="@dataclass(slots=True)\nclass WaitDetails:",
        killers=("tests/test_records.py::test_a_record_cannot_be_changed",),
    ),
)
