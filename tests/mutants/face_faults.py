"""Faults in the key, in both faces and in the steps of ``attempts()``."""

from __future__ import annotations

from .runner import Mutant

__all__ = ["FACE_FAULTS"]

KEY = "tests/test_key.py::test_"
TASKS = "tests/test_tasks.py::test_"
THREADS = "tests/test_threads.py::test_"
GAPS = "tests/test_mutant_gaps.py::test_"
DONE = "tests/test_done.py::test_"
FORK = "tests/contract/test_fork.py::test_"
ATTEMPTS = "tests/contract/test_attempts.py::test_"

BACK_THEN_WAKE = (
    "        {key}.append(KEY)\n        if self._queue:\n            self._contention.wake_next()\n"
)
WAKE_THEN_BACK = (
    "        if self._queue:\n            self._contention.wake_next()\n        {key}.append(KEY)\n"
)

FACE_FAULTS: tuple[Mutant, ...] = (
    # -- the key -----------------------------------------------------------------------------------
    Mutant(
        "key-can-be-doubled",
        "_key.py",
        "putting the key back twice makes two of it",
        old="deque((KEY,), maxlen=1)",
        new="deque((KEY,))",
        killers=(f"{KEY}a_key_cannot_be_doubled",),
    ),
    Mutant(
        "foreign-key-inverted",
        "_key.py",
        "a foreign lock that is held passes for a key that is there",
        old="return 0 if self._locked() else 1",
        new="return 1 if self._locked() else 0",
        killers=(f"{KEY}a_foreign_lock_that_is_held_is_accepted_and_left_held",),
    ),
    Mutant(
        "probe-keeps-the-foreign-lock",
        "_key.py",
        "asking whether a foreign lock is free leaves it taken",
        old="            return 0\n        self._lock.release()\n",
        new="            return 0\n",
        killers=(f"{KEY}a_foreign_key_is_the_foreign_lock",),
    ),
    Mutant(
        "reentrant-locks-accepted",
        "_key.py",
        "a lock that its holder can take again passes for one that excludes",
        old="    if again:\n        raise",
        new="    if False:\n        raise",
        killers=(f"{KEY}what_does_not_exclude_is_refused_and_left_as_it_was",),
    ),
    # -- both faces --------------------------------------------------------------------------------
    Mutant(
        "wakes-before-the-key-is-back",
        "_face.py",
        "a release wakes the next, who finds no key, and then puts it back",
        old="next holder's to write\n" + BACK_THEN_WAKE.format(key="self._key"),
        new="next holder's to write\n" + WAKE_THEN_BACK.format(key="self._key"),
        killers=(f"{GAPS}a_release_in_a_task_clears_the_owner_then_frees_then_wakes",),
    ),
    Mutant(
        "async-with-wakes-before-the-key-is-back",
        "_face.py",
        "the same at the end of 'async with'",
        old="return DONE\n        self._owner = None\n" + BACK_THEN_WAKE.format(key="self._key"),
        new="return DONE\n        self._owner = None\n" + WAKE_THEN_BACK.format(key="self._key"),
        killers=(f"{GAPS}a_release_in_a_task_clears_the_owner_then_frees_then_wakes",),
    ),
    Mutant(
        "with-wakes-before-the-key-is-back",
        "threads.py",
        "the same at the end of 'with'",
        old=BACK_THEN_WAKE.format(key="self._key"),
        new=WAKE_THEN_BACK.format(key="self._key"),
        killers=(f"{GAPS}a_release_in_a_thread_frees_and_then_wakes",),
    ),
    Mutant(
        "owner-cleared-after-the-key-is-back",
        "_face.py",
        "a release writes over the owner that took the lock after it",
        old="self._owner = None  # before the key is back: from then on it is the next holder's to "
        "write\n        self._key.append(KEY)\n",
        new="self._key.append(KEY)\n        self._owner = None\n",
        killers=(f"{GAPS}a_release_in_a_task_clears_the_owner_then_frees_then_wakes",),
    ),
    Mutant(
        "newcomers-ignore-the-queue",
        "_face.py",
        "a task takes a key that is reserved for a waiter",
        old="observe)\n        if not self._queue:\n",
        new="observe)\n        if True:\n",
        killers=(f"{GAPS}a_task_that_enters_anew_queues_behind_those_who_wait",),
    ),
    Mutant(
        "owner-is-who-made-the-coroutine",
        "_face.py",
        "a task that runs what another called waits, and owns the lock, in the other's name",
        old="return self._wait(None, limits or",
        new="return self._wait(self._waiter(task), limits or",
        killers=(f"{DONE}a_task_that_runs_what_another_called_waits_in_its_own_name",),
    ),
    Mutant(
        "owner-not-noted-after-a-wait",
        "_face.py",
        "a task that had to wait holds the lock without owning it",
        old="            raise\n        self._owner = waiter.task\n",
        new="            raise\n",
        killers=(f"{GAPS}a_task_that_had_to_wait_owns_the_lock",),
    ),
    Mutant(
        "interrupted-wait-not-abandoned",
        "_face.py",
        "a cancelled task leaves the queue only when its traceback is forgotten",
        old="            self._contention.abandon(policy, waiter)\n            raise",
        new="            raise",
        killers=(f"{GAPS}a_cancelled_task_has_left_the_queue_before_its_error_is_seen",),
    ),
    Mutant(
        "exit-releases-for-another",
        "_face.py",
        "'async with' puts the key back though its body had released, and another holds it",
        old="if self._released_by_hand:",
        new="if False:",
        killers=(
            f"{TASKS}a_body_that_released_by_hand_does_not_release_the_next_holders_lock[asyncio]",
        ),
    ),
    Mutant(
        "forked-child-finds-it-held",
        "_key.py",
        "in a forked child nobody can release what a thread of the parent held",
        old="    if reinit is None:\n        key.append(KEY)\n",
        new="    if reinit is None:\n        pass\n",
        killers=(f"{FORK}held_by_the_parent",),
    ),
    # -- tasks -------------------------------------------------------------------------------------
    Mutant(
        "anybody-releases",
        "tasks.py",
        "a task releases what another one holds",
        old="if owner is not task:",
        new="if owner is None:",
        killers=(f"{TASKS}only_the_owner_may_release[asyncio]",),
    ),
    Mutant(
        "reacquire-unnoticed",
        "tasks.py",
        "the owner waits for itself",
        old='if owner is cast("TaskWaiter", waiter).task:',
        new="if False:",
        killers=(f"{GAPS}an_owner_that_waits_for_itself_is_told_at_its_first_try",),
    ),
    Mutant(
        "owner-died-without-a-second-look",
        "tasks.py",
        "an owner that released and then ended passes for one that died holding",
        old="if has_ended(owner) and self._owner is owner:",
        new="if has_ended(owner):",
        killers=(f"{GAPS}an_owner_that_released_and_ended_meanwhile_did_not_die_holding",),
    ),
    # -- threads -----------------------------------------------------------------------------------
    Mutant(
        "threads-ignore-the-queue",
        "threads.py",
        "'with' takes a key that is reserved for a waiter",
        old="        if not self._queue:\n            try:",
        new="        if True:\n            try:",
        killers=(f"{GAPS}a_thread_that_enters_anew_queues_behind_those_who_wait",),
    ),
    Mutant(
        "no-way-given",
        "threads.py",
        "a thread queues up while the one that it has just woken waits for the GIL",
        old="        if self._key:\n            give_way()",
        new="        if False:\n            give_way()",
        killers=(f"{THREADS}a_thread_gives_way_where_the_key_is_left_to_another_and_only_there",),
    ),
    Mutant(
        "way-given-to-holders",
        "threads.py",
        "a thread that has to wait for a holder sleeps before it queues up",
        old="        if self._key:\n            give_way()",
        new="        if True:\n            give_way()",
        killers=(f"{THREADS}a_thread_gives_way_where_the_key_is_left_to_another_and_only_there",),
    ),
    Mutant(
        "free-lock-released-unnoticed",
        "threads.py",
        "the end of 'with' does not see that its body has released",
        old="        if self._released_by_hand:\n",
        new="        if False:\n",
        killers=(f"{THREADS}releasing_a_free_lock_is_refused",),
    ),
    Mutant(
        "task-owns-it-after-exit",
        "threads.py",
        "what a task acquired by hand and an ExitStack released still passes for the task's",
        old="        self._released_by_hand = True  # for",
        new="        pass  # for",
        killers=(f"{THREADS}what_a_task_acquired_may_be_released_by_an_exit_stack[asyncio]",),
    ),
    Mutant(
        "deadlock-unnoticed",
        "threads.py",
        "a thread waits for a task of the loop that it blocks",
        old="if owner is not None and in_loop_of(owner):",
        new="if False:",
        killers=(f"{THREADS}waiting_for_a_task_of_the_loop_one_blocks_is_a_deadlock[asyncio]",),
    ),
    Mutant(
        "condition-bound-by-the-limits",
        "threads.py",
        "a condition's wait fails at the limits of the lock and goes on without it",
        old="self._acquire_in_thread((None, None))",
        new="self._acquire_in_thread(self._default_limits)",
        killers=(f"{GAPS}a_condition_takes_the_lock_back_without_its_limits",),
    ),
    Mutant(
        "one-try-waits",
        "threads.py",
        "acquire(timeout=0) joins the queue, and complains of the loop that it does not block",
        old="if not blocking or seconds == 0:",
        new="if not blocking:",
        killers=(f"{THREADS}one_try_in_a_loop_neither_blocks_nor_warns[asyncio]",),
    ),
    # -- attempts() --------------------------------------------------------------------------------
    Mutant(
        "closed-attempts-stay-queued",
        "_attempts.py",
        "close() leaves the waiter in the queue",
        old="            self._face._contention.abandon(self._policy, self._waiter)",
        new="            pass",
        killers=(f"{ATTEMPTS}iterator_that_is_dropped_unused_or_closed",),
    ),
    Mutant(
        "unentered-attempt-keeps-the-lock",
        "_attempts.py",
        "a loop left before its attempt is entered leaves the lock taken",
        old="            self._face._give_back()",
        new="            pass",
        killers=(f"{GAPS}an_attempt_that_is_not_entered_gives_the_lock_back_at_once",),
    ),
    Mutant(
        "attempt-entered-twice",
        "_attempts.py",
        "one success opens two critical sections",
        old="        self._to_enter = False\n        return self",
        new="        return self",
        killers=(f"{ATTEMPTS}what_cannot_be_entered[BackoffLock-asyncio]",),
    ),
    Mutant(
        "nap-ignores-the-work-between-attempts",
        "_attempts.py",
        "the time that the caller worked between two attempts is slept past the deadline",
        old="return self._face._contention.promise_anew(self._waiter, self._attempt.delay)",
        new="return self._attempt.delay",
        killers=(f"{ATTEMPTS}deadline_holds_after_other_work[BackoffLock-asyncio]",),
    ),
    Mutant(
        "one-that-steps-rests",
        "_attempts.py",
        "a waiter whose own code naps is given a rest for a delay, and may never try again",
        old="observer(face._on_wait) or _delay_is_seen",
        new="observer(face._on_wait)",
        killers=(
            "tests/test_resting.py::test_a_waiter_that_steps_does_not_rest_and_answers_for_itself",
        ),
    ),
)
