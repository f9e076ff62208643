"""Each faulty lock is caught by the check of the promise it breaks, within the limits of that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest

from backofflock import AcquireTimeout, BackoffLock, ThreadBackoffLock

from . import broken_locks as broken
from .broken_locks import of_face, over_machine
from .hosts import ON_ASYNCIO, ON_THREADS, ON_TRIO, Host
from .subjects import Make
from .test_attempts import check_success_that_is_not_entered
from .test_cancellation import (
    check_cancel_storm,
    check_cancelled_at_the_checkpoint,
    check_cancelled_in_the_turn_of_the_release,
    check_cancelled_while_waiting,
)
from .test_dead_loop import (
    check_blocked_loop_costs_the_next_little,
    check_closed_loop_costs_the_next_little,
    check_waking_a_closed_loop_drops_the_waiter,
)
from .test_exclusion import (
    check_body_that_released_early,
    check_error_inside_releases,
    check_never_two_inside,
    check_only_the_owner_releases,
)
from .test_fairness import (
    check_first_come_first_served,
    check_free_key_is_reserved,
    check_looping_task_lets_others_in,
    check_nobody_starves,
)
from .test_loop_delay import check_loop_delay_stays
from .test_queue import by_break, check_cancelled_leaves, check_leaving
from .test_timeout import (
    check_deadline_clips_the_last_nap,
    check_last_try_at_the_deadline,
    check_max_attempts_counts_tries,
)
from .test_wake_up import check_release_wakes_the_next, check_unannounced_release_is_found

Check = Callable[[Make, Host], None]


@dataclass(frozen=True)
class Fault:
    """A faulty lock, and the checks that must each catch it."""

    name: str
    make: Make
    checks: tuple[Check, ...]
    host: Host = ON_ASYNCIO
    error: type[Exception] | tuple[type[Exception], ...] = AssertionError


TWO_HOLDERS = (AssertionError, RuntimeError)
"""Two are inside, or the second to leave finds that the first has released for both."""

FAULTS = [
    Fault(
        "lost-key-at-cancel",
        over_machine(BackoffLock, broken.LosesKeyAtCancel),
        (
            partial(check_cancelled_in_the_turn_of_the_release, cancel_first=False),
            partial(check_cancel_storm, tasks=300),
        ),
    ),
    Fault("lost-key-at-error", of_face(broken.LosesKeyAtError), (check_error_inside_releases,)),
    Fault(
        "doubled-key-at-cancel",
        over_machine(BackoffLock, broken.DoublesKeyAtCancel),
        (check_cancelled_while_waiting, partial(check_cancel_storm, tasks=300)),
        error=TWO_HOLDERS,
    ),
    Fault(
        "doubled-key-by-two-steps",
        of_face(broken.LooksThenTakes),
        (check_never_two_inside,),
        ON_THREADS,
        TWO_HOLDERS,
    ),
    Fault(
        "exit-releases-for-others",
        of_face(broken.ReleasesForOthers),
        (check_body_that_released_early,),
    ),
    Fault(
        "owner-not-cleared",
        of_face(broken.ForgetsToClearOwner),
        (check_only_the_owner_releases,),
    ),
    Fault(
        "barging-starves",
        over_machine(BackoffLock, broken.LetsHoldersBarge),
        (check_looping_task_lets_others_in, check_free_key_is_reserved),
    ),
    Fault(
        "barging-starves-threads",
        over_machine(ThreadBackoffLock, broken.LetsHoldersBarge),
        (check_looping_task_lets_others_in, check_nobody_starves),
    ),
    Fault(
        "last-come-first-served",
        of_face(broken.LastComeFirstServed),
        (check_first_come_first_served,),
    ),
    Fault(
        "reservation-never-lapses",
        over_machine(BackoffLock, broken.ReservesForEver),
        (partial(check_blocked_loop_costs_the_next_little, blocked=ON_TRIO),),
    ),
    Fault(
        "reservation-never-lapses-threads",
        over_machine(
            partial(ThreadBackoffLock, wake_on_release=False, fair_after=0.0),
            broken.ReservesForEver,
        ),
        (partial(check_closed_loop_costs_the_next_little, closed=ON_ASYNCIO),),
        ON_TRIO,
    ),
    Fault(
        "naps-until-woken",
        over_machine(BackoffLock, broken.NapsUntilWoken, over=threading.Lock),
        (check_unannounced_release_is_found,),
    ),
    Fault(
        "never-wakes",
        over_machine(BackoffLock, broken.NeverWakes),
        (check_release_wakes_the_next,),
    ),
    Fault(
        "wakes-everybody",
        over_machine(BackoffLock, broken.WakesEverybody),
        (check_release_wakes_the_next,),
    ),
    Fault(
        "wake-up-lost-at-cancel",
        over_machine(BackoffLock, broken.LosesWakeUpAtCancel),
        (partial(check_cancelled_in_the_turn_of_the_release, cancel_first=False),),
    ),
    Fault(  # trio does not cancel a task that has been woken
        "wake-up-lost-at-cancel-trio",
        over_machine(BackoffLock, broken.LosesWakeUpAtCancel),
        (partial(check_cancelled_in_the_turn_of_the_release, cancel_first=True),),
        ON_TRIO,
    ),
    Fault(
        "waking-a-closed-loop-fails",
        of_face(broken.FailsAtClosedLoops),
        (partial(check_waking_a_closed_loop_drops_the_waiter, closed=ON_ASYNCIO),),
    ),
    Fault(
        "queue-entry-left-at-cancel",
        over_machine(BackoffLock, broken.KeepsTheCancelled),
        (check_cancelled_while_waiting, check_cancelled_leaves),
    ),
    Fault(
        "queue-entry-left-by-attempts",
        of_face(broken.KeepsLeftAttempts),
        (partial(check_leaving, ways=[(by_break, {})]),),
    ),
    Fault(
        "success-not-entered-is-kept",
        of_face(broken.KeepsUnentered),
        (check_success_that_is_not_entered,),
    ),
    Fault(
        "key-taken-at-cancel",
        of_face(broken.TakesBeforeCheckpoint),
        (check_cancelled_at_the_checkpoint,),
        ON_TRIO,
    ),
    Fault(
        "sleeps-past-the-deadline",
        over_machine(ThreadBackoffLock, broken.OversleepsDeadline),
        (check_deadline_clips_the_last_nap,),
    ),
    Fault(
        "no-last-try-at-the-deadline",
        over_machine(ThreadBackoffLock, broken.MissesLastTry),
        (check_last_try_at_the_deadline,),
        ON_THREADS,
        AcquireTimeout,
    ),
    Fault(
        "one-try-too-many",
        over_machine(ThreadBackoffLock, broken.TriesOnceMore),
        (check_max_attempts_counts_tries,),
        ON_THREADS,
    ),
    Fault("blocks-its-loop", of_face(broken.BlocksItsLoop), (check_loop_delay_stays,)),
    Fault(
        "blocks-its-loop-trio", of_face(broken.BlocksItsLoop), (check_loop_delay_stays,), ON_TRIO
    ),
]


def name_of(check: Check) -> str:
    return str((check.func if isinstance(check, partial) else check).__name__)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        pytest.param(fault, check, id=f"{fault.name}-{name_of(check)}")
        for fault in FAULTS
        for check in fault.checks
    ],
)
def test_caught(fault: Fault, check: Check) -> None:
    impatient = replace(fault.host, patience=0.5, limit=8.0)
    failed: tuple[type[BaseException], ...] = (pytest.fail.Exception,)
    failed += fault.error if isinstance(fault.error, tuple) else (fault.error,)
    with pytest.raises(failed):
        check(fault.make, impatient)
