"""The two policies, driven by hand: the tests play the backend, and time is virtual."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from math import inf, nan
from typing import Any, TypeAlias

import pytest

from backofflock import AcquireTimeout, Constant, Exponential, Sequence, WaitDetails, leases
from backofflock.distributed import _policy
from backofflock.distributed._policy import (
    DAY,
    LAST_TRY,
    TAKEN,
    Ask,
    Nap,
    Pursuit,
    Steps,
    keep,
    keeping_begins_in,
)
from backofflock.errors import BackendRefused, BackendUnavailable
from backofflock.leases import Busy, Grant, Lease
from backofflock.schedules import Schedule

START = 1000.0

Answer: TypeAlias = "Grant | Busy | bool | BaseException"
Backend: TypeAlias = "Callable[[Ask], Answer]"


class Virtual:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    @property
    def passed(self) -> float:
        return self.now - START


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Virtual:
    virtual = Virtual()
    monkeypatch.setattr(leases, "clock", virtual)
    monkeypatch.setattr(_policy, "clock", virtual)
    return virtual


@dataclass
class Play:
    """Drives a policy: a nap passes at once, a request takes `trip`; `backend` answers."""

    steps: Steps
    clock: Virtual
    backend: Backend
    trip: float = 0.0

    def __post_init__(self) -> None:
        self.done: list[tuple[float, Ask | Nap]] = []
        """What was asked for, and when."""

    def run(self) -> Any:
        step = next(self.steps)
        try:
            for _ in range(1000):
                self.done.append((self.clock.passed, step))
                if isinstance(step, Nap):
                    assert step.seconds >= 0
                    self.clock.now += step.seconds
                    step = self.steps.send(None)
                    continue
                self.clock.now += min(self.trip, step.within)
                answer: Answer = (
                    unavailable(step.call) if self.trip > step.within else self.backend(step)
                )
                if isinstance(answer, BaseException):
                    step = self.steps.throw(answer)
                else:
                    step = self.steps.send(answer)
        except StopIteration as over:
            return over.value
        raise AssertionError(f"not over after 1000 steps: {self.done[-3:]}")

    @property
    def naps(self) -> list[float]:
        return [step.seconds for _, step in self.done if isinstance(step, Nap)]

    @property
    def asks(self) -> list[float]:
        """When each request was sent."""
        return [when for when, step in self.done if isinstance(step, Ask)]


def unavailable(call: str = "try_acquire") -> BackendUnavailable:
    return BackendUnavailable("memory://", call, "connection refused")


def answers(*given: Answer) -> Backend:
    """Give these answers, the last one again and again."""
    left = list(given)
    return lambda _ask: left.pop(0) if len(left) > 1 else left[0]


def pursuit(
    schedule: Schedule = Constant(1.0),  # noqa: B008
    timeout: float | None = None,
    max_attempts: int | None = None,
    observe: Callable[[WaitDetails], object] | None = None,
    cede: float = 0.0,
    request_timeout: float = 5.0,
    ttl: float = 30.0,
    rng: random.Random | None = None,
) -> Pursuit:
    return Pursuit(
        name="orders",
        token="a token",
        waiter="a waiter",
        ttl=ttl,
        request_timeout=request_timeout,
        schedule=schedule,
        rng=rng,
        limits=(timeout, max_attempts),
        since=START,
        observe=observe,
        cede=cede,
    )


def play(clock: Virtual, wanted: Pursuit, backend: Backend, trip: float = 0.0) -> Play:
    return Play(wanted.steps(), clock, backend, trip)


# -- acquiring -------------------------------------------------------------------------------------


def test_granted_at_once(clock: Virtual) -> None:
    wanted = pursuit()
    acting = play(clock, wanted, answers(Grant(7, 30.0)), trip=0.5)
    lease = acting.run()
    assert acting.done == [(0.0, Ask("try_acquire", 5.0))]
    assert (lease.name, lease.token, lease.fence, lease.ttl) == ("orders", "a token", 7, 30.0)
    assert lease.remaining() == 29.5  # from before the request
    assert (wanted.attempt, wanted.unanswered, wanted.met_others) == (1, 0, False)


def test_it_naps_by_its_schedule_between_requests(clock: Virtual) -> None:
    wanted = pursuit(Sequence((1.0, 2.0, 4.0)))
    acting = play(clock, wanted, answers(Busy(), Busy(), Grant(7)))
    acting.run()
    assert acting.naps == [1.0, 2.0]
    assert acting.asks == [0.0, 1.0, 3.0]
    assert (wanted.attempt, wanted.met_others) == (3, True)


def test_the_schedule_draws_from_the_rng_it_is_given(clock: Virtual) -> None:
    schedule = Exponential(initial=0.01, cap=0.5, jitter=1.0)
    acting = play(clock, pursuit(schedule, rng=random.Random(5)), answers(*[Busy()] * 4, Grant(7)))
    acting.run()
    delays = schedule.delays(random.Random(5))
    assert acting.naps == [next(delays) for _ in range(4)]


def test_the_backend_may_wish_for_a_longer_nap_not_for_a_shorter(clock: Virtual) -> None:
    acting = play(clock, pursuit(), answers(Busy(3.0), Busy(0.25), Grant(7)))
    acting.run()
    assert acting.naps == [3.0, 1.0]


def test_ceding_comes_first(clock: Virtual) -> None:
    acting = play(clock, pursuit(cede=0.25), answers(Grant(7)))
    acting.run()
    assert acting.done == [(0.0, Nap(0.25)), (0.25, Ask("try_acquire", 5.0))]


def test_who_has_less_time_than_is_to_be_ceded_gives_up(clock: Virtual) -> None:
    acting = play(clock, pursuit(cede=0.25, timeout=0.125), answers(Grant(7)))
    with pytest.raises(AcquireTimeout, match=r"after 0 attempts and 0\.125 seconds"):
        acting.run()
    assert acting.done == [(0.0, Nap(0.125))], "nothing was asked"
    clock.now += 10.0  # behind the gate for longer than its timeout
    acting = play(clock, pursuit(cede=0.25, timeout=0.125), answers(Grant(7)))
    with pytest.raises(AcquireTimeout):
        acting.run()
    assert acting.naps == [0.0]
    acting = play(clock, pursuit(cede=0.25, timeout=10.5), answers(Grant(7)))
    acting.run()
    assert acting.naps == [0.25]


def test_the_deadline_clips_the_last_nap_and_has_a_last_try(clock: Virtual) -> None:
    acting = play(clock, pursuit(timeout=2.5), answers(Busy()))
    with pytest.raises(AcquireTimeout) as raised:
        acting.run()
    assert acting.naps == [1.0, 1.0, 0.5]
    assert acting.asks == [0.0, 1.0, 2.0, 2.5]
    error = raised.value
    assert (error.lock, error.attempts, error.waited) == ("orders", 4, 2.5)
    assert error.reason == "timeout=2.5"
    assert error.__cause__ is None


def test_nor_does_a_wish_of_the_backend_go_past_the_deadline(clock: Virtual) -> None:
    acting = play(clock, pursuit(timeout=2.5), answers(Busy(60.0)))
    with pytest.raises(AcquireTimeout):
        acting.run()
    assert acting.naps == [2.5]


def test_the_last_try_may_succeed(clock: Virtual) -> None:
    acting = play(clock, pursuit(timeout=1.5), answers(Busy(), Busy(), Grant(7)))
    assert acting.run().fence == 7
    assert clock.passed == 1.5


def test_a_timeout_of_0_is_one_try(clock: Virtual) -> None:
    acting = play(clock, pursuit(timeout=0.0), answers(Busy()))
    with pytest.raises(AcquireTimeout, match="timeout=0"):
        acting.run()
    assert acting.done == [(0.0, Ask("try_acquire", LAST_TRY))]


def test_max_attempts_counts_requests(clock: Virtual) -> None:
    acting = play(clock, pursuit(max_attempts=3), answers(Busy()))
    with pytest.raises(AcquireTimeout, match="max_attempts=3"):
        acting.run()
    assert len(acting.asks) == 3


def test_an_exhausted_schedule_gives_up(clock: Virtual) -> None:
    acting = play(clock, pursuit(Sequence((1.0, 1.0))), answers(Busy()))
    with pytest.raises(AcquireTimeout, match="the schedule is exhausted"):
        acting.run()
    assert len(acting.asks) == 3


@dataclass(frozen=True)
class Odd(Schedule):
    delay: float

    def delays(self, rng: object = None) -> Generator[float, None, None]:
        while True:
            yield self.delay


@pytest.mark.parametrize("delay", [nan, -1.0, inf])
def test_a_schedule_that_gives_no_delay_is_refused(clock: Virtual, delay: float) -> None:
    with pytest.raises(ValueError, match="the schedule of lock 'orders' gave a delay of"):
        play(clock, pursuit(Odd(delay)), answers(Busy())).run()


# -- requests that are not answered ----------------------------------------------------------------


def test_an_unanswered_request_is_no_no(clock: Virtual, caplog: pytest.LogCaptureFixture) -> None:
    wanted = pursuit()
    acting = play(clock, wanted, answers(unavailable(), unavailable(), Grant(7)))
    with caplog.at_level(logging.WARNING, "backofflock"):
        assert acting.run().fence == 7
    assert acting.naps == [1.0, 1.0]
    assert (wanted.unanswered, wanted.met_others) == (2, False)
    assert len(caplog.messages) == 1  # told once, not at each try
    assert "orders" in caplog.messages[0]
    assert "connection refused" in caplog.messages[0]


def test_giving_up_unanswered_says_why(clock: Virtual) -> None:
    failure = unavailable()
    with pytest.raises(AcquireTimeout) as raised:
        play(clock, pursuit(timeout=1.0), answers(Busy(), failure)).run()
    assert raised.value.__cause__ is failure


def test_giving_up_answered_does_not_blame_an_earlier_failure(clock: Virtual) -> None:
    with pytest.raises(AcquireTimeout) as raised:
        play(clock, pursuit(timeout=1.0), answers(unavailable(), Busy())).run()
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_refused_it_does_not_ask_again(clock: Virtual) -> None:
    refused = BackendRefused("memory://", "try_acquire", "invalid password")
    acting = play(clock, pursuit(), answers(refused))
    with pytest.raises(BackendRefused):
        acting.run()
    assert len(acting.asks) == 1


def test_a_request_counts_as_unanswered_in_time(clock: Virtual) -> None:
    for wanted, within in [
        (pursuit(), 5.0),
        (pursuit(request_timeout=0.5), 0.5),
        (pursuit(ttl=2.0), 2.0),  # a later answer would be no lease
        (pursuit(timeout=3.0), 3.0),
        (pursuit(timeout=0.25), LAST_TRY),  # less would be in vain
        (pursuit(timeout=0.25, request_timeout=0.5), 0.5),
    ]:
        clock.now = START
        acting = play(clock, wanted, answers(Grant(7)))
        acting.run()
        assert acting.done == [(0.0, Ask("try_acquire", within))]


def test_a_server_that_hangs_holds_up_the_deadline_by_one_last_try(clock: Virtual) -> None:
    acting = play(clock, pursuit(timeout=6.0), answers(Grant(7)), trip=inf)
    with pytest.raises(AcquireTimeout) as raised:
        acting.run()
    assert isinstance(raised.value.__cause__, BackendUnavailable)
    assert acting.asks == [0.0, 6.0]
    assert clock.passed == 6.0 + LAST_TRY


def test_an_answer_later_than_the_lease_is_no_lease(clock: Virtual) -> None:
    wanted = pursuit(request_timeout=60.0)

    def late_at_first(_ask: Ask) -> Grant:
        if wanted.attempt == 1:
            clock.now += 30.0
        return Grant(wanted.attempt, 30.0)

    acting = play(clock, wanted, late_at_first)
    lease = acting.run()
    assert (lease.fence, wanted.attempt) == (2, 2)
    assert lease.remaining() == 30.0


def test_late_answers_reach_the_limits_too(clock: Virtual) -> None:
    def late(_ask: Ask) -> Grant:
        clock.now += 30.0
        return Grant(1, 30.0)

    with pytest.raises(AcquireTimeout, match="max_attempts=2"):
        play(clock, pursuit(max_attempts=2), late).run()


# -- who watches -----------------------------------------------------------------------------------


def test_on_wait_is_told_before_each_nap(clock: Virtual) -> None:
    told: list[WaitDetails] = []
    play(clock, pursuit(timeout=1.5, observe=told.append), answers(Busy(), Busy(), Grant(7))).run()
    assert told == [
        WaitDetails("orders", "a waiter", attempt=1, delay=1.0, waited=0.0, remaining=1.5, ahead=0),
        WaitDetails("orders", "a waiter", attempt=2, delay=0.5, waited=1.0, remaining=0.5, ahead=0),
    ]


def test_on_wait_without_a_deadline(clock: Virtual) -> None:
    told: list[WaitDetails] = []
    play(clock, pursuit(observe=told.append), answers(Busy(), Grant(7))).run()
    assert told[0].remaining is None


def test_an_error_of_on_wait_goes_to_the_waiter(clock: Virtual) -> None:
    def fail(_details: WaitDetails) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        play(clock, pursuit(observe=fail), answers(Busy())).run()


def test_an_on_wait_that_takes_its_time_delays_no_deadline(clock: Virtual) -> None:
    def dawdle(_details: WaitDetails) -> None:
        clock.now += 2.0

    acting = play(clock, pursuit(timeout=2.5, observe=dawdle), answers(Busy()))
    with pytest.raises(AcquireTimeout):
        acting.run()
    assert acting.naps == [0.5]
    assert clock.passed == 2.5


# -- keeping ---------------------------------------------------------------------------------------


def leased(clock: Virtual, ttl: float = 30.0) -> Lease:
    return Lease("orders", "a token", 7, ttl, clock.now)


def keeping(
    clock: Virtual,
    lease: Lease,
    backend: Backend,
    *,
    ttl: float = 30.0,
    request_timeout: float = 5.0,
    until: float = inf,
    trip: float = 0.0,
) -> Play:
    steps = keep(lease, ttl, request_timeout, until, random.Random(3), now=clock)
    return Play(steps, clock, backend, trip)


def renewed_for(clock: Virtual, seconds: float) -> Backend:
    """Renew until so many seconds have passed, and say then that the key was deleted."""
    return lambda _ask: clock.passed < seconds


def test_it_renews_at_a_jittered_third(clock: Virtual) -> None:
    lease = leased(clock)
    acting = keeping(clock, lease, renewed_for(clock, 2000.0))
    assert acting.run() == TAKEN
    assert all(30.0 / 4 <= nap <= 30.0 / 3 for nap in acting.naps)
    assert max(acting.naps) - min(acting.naps) > 1.0
    assert clock.passed >= 2000.0


def test_each_renewal_moves_the_deadline_to_a_ttl_after_it_was_sent(clock: Virtual) -> None:
    lease = leased(clock)
    seen: list[float] = []

    def renew(_ask: Ask) -> bool:
        seen.append(lease.lost.deadline)
        return len(seen) < 3

    acting = keeping(clock, lease, renew, trip=0.5)
    acting.run()
    first, second = acting.asks[:2]
    assert seen == [START + 30.0, START + first + 30.0, START + second + 30.0]


def test_a_failed_renewal_is_tried_again_soon_and_often(
    clock: Virtual, caplog: pytest.LogCaptureFixture
) -> None:
    lease = leased(clock)
    acting = keeping(clock, lease, answers(unavailable("renew")))
    with caplog.at_level(logging.WARNING, "backofflock"):
        assert acting.run() == "it could not be renewed in time"
    assert clock.passed == 30.0  # to the deadline and not beyond
    assert len(acting.asks) > 15
    assert all(nap <= 1.0 for nap in acting.naps[1:])
    assert isinstance(lease.lost.failure, BackendUnavailable)
    assert len(caplog.messages) == 1


def test_once_renewed_again_nothing_is_left_of_the_failure(clock: Virtual) -> None:
    lease = leased(clock)
    given = answers(unavailable("renew"), unavailable("renew"), True, False)
    acting = keeping(clock, lease, given)
    assert acting.run() == TAKEN
    assert lease.lost.failure is None
    assert acting.naps[3] >= 30.0 / 4  # back to the ordinary interval


def test_a_server_that_hangs_costs_the_lease_by_its_deadline(clock: Virtual) -> None:
    lease = leased(clock)
    acting = keeping(clock, lease, answers(True), trip=inf)
    assert acting.run() == "it could not be renewed in time"
    assert clock.passed == pytest.approx(30.0)


@pytest.mark.parametrize("ttl", [0.5, 3.0, 5.0, 30.0])
def test_one_swallowed_answer_costs_no_lease(clock: Virtual, ttl: float) -> None:
    lease = leased(clock, ttl)
    sent: list[Ask] = []

    def swallow_the_first(ask: Ask) -> Answer:
        sent.append(ask)
        if len(sent) == 1:
            clock.now += ask.within
            return unavailable("renew")
        return len(sent) < 10

    acting = keeping(clock, lease, swallow_the_first, ttl=ttl)
    assert acting.run() == TAKEN
    assert len(sent) == 10


def test_an_answer_after_the_deadline_does_not_revive_the_lease(clock: Virtual) -> None:
    lease = leased(clock)

    def late(_ask: Ask) -> bool:
        clock.now = START + 30.0
        return True

    acting = keeping(clock, lease, late)
    assert acting.run() == "it could not be renewed in time"
    assert lease.lost.is_set()


def test_nor_does_a_holder_that_was_stopped_for_longer_than_the_lease(clock: Virtual) -> None:
    lease = leased(clock)
    steps = keep(lease, 30.0, 5.0, now=clock)
    next(steps)
    clock.now += 31.0
    with pytest.raises(StopIteration) as over:
        steps.send(None)
    assert over.value.value == "it could not be renewed in time"


def test_no_renewal_at_all(clock: Virtual) -> None:
    lease = leased(clock)
    acting = keeping(clock, lease, answers(True), until=0.0)
    assert acting.run() == "it could not be renewed in time"
    assert acting.asks == []
    assert acting.naps == [30.0]


def test_renewal_for_a_while(clock: Virtual) -> None:
    lease = leased(clock)
    acting = keeping(clock, lease, answers(True), until=START + 100.0)
    assert acting.run() == "it could not be renewed in time"
    assert 100.0 - 10.0 <= acting.asks[-1] <= 100.0
    assert clock.passed == acting.asks[-1] + 30.0


def test_a_lease_without_an_end_is_still_asked_for(clock: Virtual) -> None:
    lease = leased(clock, inf)
    acting = keeping(clock, lease, renewed_for(clock, 100.0))
    assert acting.run() == TAKEN
    assert len(acting.asks) >= 10


def test_a_lease_without_an_end_and_without_renewals_ends_never(clock: Virtual) -> None:
    lease = leased(clock, inf)
    acting = keeping(clock, lease, answers(True), until=START + 15.0)
    with pytest.raises(AssertionError, match="not over after 1000 steps"):
        acting.run()
    assert len(acting.asks) == 1
    assert acting.naps[-1] == DAY


def test_a_shorter_grant_is_renewed_the_more_often(clock: Virtual) -> None:
    lease = leased(clock, 6.0)  # asked for 30
    acting = keeping(clock, lease, renewed_for(clock, 100.0), ttl=30.0)
    assert acting.run() == TAKEN
    assert all(nap <= 6.0 / 3 for nap in acting.naps)


def test_a_refusal_is_not_tried_again(clock: Virtual) -> None:
    refused = BackendRefused("memory://", "renew", "invalid password")
    acting = keeping(clock, leased(clock), answers(refused))
    with pytest.raises(BackendRefused):
        acting.run()
    assert len(acting.asks) == 1


@pytest.mark.parametrize("until", [0.0, START + 5.0, START + 12.0, inf])
@pytest.mark.parametrize("age", [0.0, 7.6, 9.0, 31.0])
@pytest.mark.parametrize("granted", [6.0, 30.0, inf])
def test_nobody_is_needed_before_the_first_renewal_can_be_due(
    clock: Virtual, granted: float, age: float, until: float
) -> None:
    lease = leased(clock, granted)
    clock.now += age
    idle = keeping_begins_in(lease, 30.0, until, now=clock)
    for seed in range(20):
        first = next(keep(lease, 30.0, 5.0, until, random.Random(seed), now=clock))
        assert isinstance(first, Nap)
        assert 0.0 <= idle <= first.seconds
        if clock.now < until:
            assert first.seconds <= idle + 30.0 / 12, "and not much sooner"


def test_a_lease_that_ended_as_it_came_is_kept_for_no_time(clock: Virtual) -> None:
    lease = Lease("orders", "a token", 7, 30.0, clock.now - 31.0)
    steps = keep(lease, 30.0, 5.0, now=clock)
    assert next(steps) == Nap(0.0)  # as all that keep a lease begin with a nap
    with pytest.raises(StopIteration) as ended:
        next(steps)
    assert ended.value.value == "it could not be renewed in time"
