"""What the simulator says where it can be worked out by hand, and what it refuses."""

from __future__ import annotations

from array import array
from itertools import pairwise
from typing import Any

import pytest

from backofflock import Constant, Exponential, Linear, Schedule, Spin
from backofflock.simulation import (
    Arrival,
    Distribution,
    Remote,
    Scenario,
    rule_of_thumb,
    simulate,
    trace,
)
from backofflock.simulation._local import SHORTEST
from backofflock.simulation._outcome import Tally, summed_up

fixed = Distribution.fixed


def scenario(**more: Any) -> Scenario:
    given: dict[str, Any] = {
        "late": fixed(0.0),
        "think": fixed(0.0),
        "arrival": Arrival("burst", 0.0),
    }
    return Scenario(**{**given, **more})


def test_woken_waiters_are_served_in_order_and_at_once() -> None:
    outcome = simulate(
        Constant(100.0),
        scenario(contenders=8, hold=fixed(1.0), rounds=1, seconds=None, wake=True, fair_after=0.0),
    )
    assert outcome.elapsed == pytest.approx(8 + 7 * SHORTEST)
    assert outcome.wait_p50 == pytest.approx(4 + 4 * SHORTEST)
    assert outcome.wait_longest == pytest.approx(7 + 7 * SHORTEST)
    # Each waiter tries on joining and when it is woken, and those behind the second once their rest
    # is over; the first comer finds the lock free.
    assert outcome.tries == (1 + 7 * 2 + 6) / 8


def test_without_reservations_one_that_asks_at_once_again_starves_the_others() -> None:
    held = {"contenders": 5, "hold": fixed(0.1), "seconds": 20.0}
    barging = simulate(Exponential(), scenario(**held))
    assert barging.fairness == pytest.approx(0.2)
    assert barging.utilisation == pytest.approx(1.0)
    assert barging.wait_longest == pytest.approx(20.0)  # it counts though it has not ended
    fair = simulate(Exponential(), scenario(**held, wake=True, fair_after=0.0))
    assert fair.fairness > 0.999


def test_fairness_is_that_of_the_time_when_all_still_contend() -> None:
    # One after the other takes all its rounds, which in the end are the same number for all.
    greedy = scenario(contenders=4, rounds=5, seconds=None)
    outcome = simulate(Exponential(0.001), greedy)
    assert (outcome.acquisitions, outcome.fairness) == (20, 0.25)


def test_the_rule_of_thumb_holds_for_a_crowd() -> None:
    crowd = scenario(
        contenders=600, think=Distribution("exponential", 5.0), hold=fixed(0.01), seconds=100.0
    )
    outcome = simulate(Constant(1.0, jitter=0.5), crowd)
    assert outcome.nap == pytest.approx(0.75, rel=0.01)
    expected = rule_of_thumb(0.75, outcome.waiters, 0.01)
    assert 0.5 < expected < 0.9
    assert outcome.utilisation == pytest.approx(expected, abs=0.04)


def test_waits_add_up_to_the_waiters_of_the_time() -> None:
    # One holds or thinks, all others wait: Little's law without a tolerance worth the name.
    outcome = simulate(Exponential(0.01, cap=0.1), scenario(contenders=10, think=fixed(0.0)))
    assert outcome.waiters == pytest.approx(9.0, abs=0.01)


@pytest.mark.parametrize("remote", [None, Remote(), Remote(processes=4, lost=0.01)])
def test_a_seed_says_it_all(remote: Remote | None) -> None:
    small = Scenario(contenders=12, seconds=3.0, remote=remote)
    first, again = (simulate(Exponential(), small, seed=7, runs=2) for _ in range(2))
    assert first == again
    assert first != simulate(Exponential(), small, seed=8, runs=2)
    assert first.utilisation != simulate(Exponential(), small, seed=7).utilisation  # runs differ


def test_naps_end_late_by_what_is_said() -> None:
    late = scenario(contenders=2, seconds=50.0, late=fixed(0.25), hold=fixed(1.0))
    assert simulate(Constant(0.5), late).nap == pytest.approx(0.75)


def test_a_spinning_waiter_does_not_stop_the_clock() -> None:
    outcome = simulate(Spin(), scenario(contenders=2, hold=fixed(0.001), rounds=1, seconds=None))
    assert outcome.elapsed == pytest.approx(0.002, abs=2 * SHORTEST)
    assert outcome.nap == pytest.approx(SHORTEST)


def test_a_poisson_arrival_is_spread_over_time() -> None:
    outcome = simulate(
        Constant(0.01),
        scenario(
            contenders=1000, hold=fixed(0.0), rounds=1, seconds=None,
            arrival=Arrival("poisson", 50.0),
        ),
    )  # fmt: skip
    assert outcome.elapsed == pytest.approx(20.0, rel=0.15)
    assert outcome.wait_longest == 0.0


# -- on a server -----------------------------------------------------------------------------------


def test_alone_at_a_server_it_takes_two_requests_and_a_round_trip() -> None:
    server = Remote(rtt=fixed(0.1), capacity=100.0)
    alone = scenario(contenders=1, hold=fixed(0.5), rounds=2, seconds=None, remote=server)
    outcome = simulate(Exponential(), alone)
    assert outcome.wait_longest == pytest.approx(0.11)
    # Ask, hold, release, and the same again: the last release is on its way when all is over.
    assert outcome.elapsed == pytest.approx(0.11 + 0.5 + 0.11 + 0.11 + 0.5)
    assert outcome.tries == 1
    assert outcome.commands * outcome.elapsed == pytest.approx(4)
    assert outcome.server_busy * outcome.elapsed == pytest.approx(0.04)


def test_a_server_carries_out_one_request_after_the_other() -> None:
    # 100 ask at once and 10 are served a second: the last one hears after ten seconds.
    server = Remote(rtt=fixed(0.0), capacity=10.0, request_timeout=60.0)
    crowd = scenario(contenders=100, hold=fixed(1000.0), seconds=9.95, remote=server)
    outcome = simulate(Constant(1000.0), crowd)
    # The lease of the first is renewed once meanwhile.
    assert outcome.commands * outcome.elapsed == pytest.approx(101)
    assert outcome.server_busy == 1.0
    assert outcome.unanswered == 0


def test_a_reply_that_comes_too_late_is_none() -> None:
    server = Remote(rtt=fixed(0.0), capacity=10.0, request_timeout=5.0)
    crowd = scenario(contenders=100, hold=fixed(1000.0), seconds=9.95, remote=server)
    outcome = simulate(Constant(1000.0), crowd)
    assert outcome.unanswered == 100 - 50


def test_lost_replies_cost_time_and_never_the_lock() -> None:
    server = Remote(lost=0.2, request_timeout=0.5)
    crowd = scenario(
        contenders=20, hold=fixed(0.01), rounds=5, seconds=None, remote=server,
        think=fixed(0.01), late=fixed(0.001),
    )  # fmt: skip
    outcome = simulate(Exponential(0.01, cap=0.2), crowd, runs=3)
    assert outcome.acquisitions == 100
    assert outcome.unanswered > 20
    sound = Scenario(**{**_fields(crowd), "remote": Remote(request_timeout=0.5)})
    assert simulate(Exponential(0.01, cap=0.2), sound).elapsed < outcome.elapsed / 2


def _fields(crowd: Scenario) -> dict[str, Any]:
    return {name: getattr(crowd, name) for name in crowd.__dataclass_fields__}


def test_one_of_a_process_asks_and_the_others_wait_at_its_gate() -> None:
    held = {"contenders": 60, "hold": fixed(0.1), "seconds": 30.0, "late": fixed(0.001)}
    own = simulate(Constant(0.2, jitter=0.5), scenario(**held, remote=Remote()))
    gated = simulate(Constant(0.2, jitter=0.5), scenario(**held, remote=Remote(processes=6)))
    alone = simulate(Constant(0.2, jitter=0.5), scenario(**held, remote=Remote(processes=1)))
    # Those who wait ask every 0.15 s and a little: 59 of them, or 5.
    assert own.commands == pytest.approx(59 / 0.152, rel=0.08)
    assert gated.commands < own.commands / 5
    assert alone.tries == pytest.approx(1.0, abs=0.01)


def test_a_process_that_takes_the_lock_again_and_again_leaves_it_to_others() -> None:
    # Between two of one process the lock is free for 20 us: were it not left now and then, the
    # others would wait for half a minute.
    server = Remote(processes=2, rtt=fixed(1e-5), capacity=1e6)
    held = {"contenders": 40, "hold": fixed(0.02), "seconds": 60.0, "late": fixed(0.001)}
    outcome = simulate(Constant(0.5, jitter=0.5), scenario(**held, remote=server))
    assert outcome.fairness > 0.8
    assert outcome.wait_longest < 15.0


def test_long_holds_are_renewed() -> None:
    server = Remote(rtt=fixed(0.001))
    long = scenario(contenders=1, hold=fixed(875.0), rounds=1, seconds=None, remote=server)
    outcome = simulate(Exponential(), long)
    # One request to acquire, and a renewal every quarter to third of thirty seconds.
    assert outcome.commands * outcome.elapsed == pytest.approx(1 + 100, abs=4)


# -- pictures and progress -------------------------------------------------------------------------


@pytest.mark.parametrize("remote", [None, Remote(rtt=fixed(0.01))])
def test_a_trace_tells_who_held_slept_and_tried(remote: Remote | None) -> None:
    spans = trace(Linear((0.0, 0.1)), scenario(contenders=4, seconds=2.0, remote=remote))
    held = sorted((span.began, span.ended) for span in spans if span.what == "held")
    assert all(first[1] <= second[0] for first, second in pairwise(held))
    slept = [span for span in spans if span.what == "slept"]
    assert {span.who for span in slept} <= set(range(4))
    tried = {(span.who, span.began) for span in spans if span.what == "tried"}
    assert {(span.who, span.began) for span in slept} == tried


def test_progress_is_told_and_ends_at_all_of_it() -> None:
    told: list[float] = []
    simulate(Exponential(), Scenario(contenders=50, seconds=40.0), runs=2, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 4


def test_what_progress_raises_ends_the_simulation() -> None:
    def stop(_share: float) -> None:
        raise KeyboardInterrupt

    endless = Scenario(contenders=3000, seconds=1e9)
    with pytest.raises(KeyboardInterrupt):
        simulate(Exponential(), endless, progress=stop)


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"contenders": 0}, "contenders must be a whole number from 1 to"),
        ({"rounds": 0}, "rounds must be a whole number from 1"),
        ({"seconds": None}, "rounds or seconds must be given"),
        ({"seconds": 0.0}, "seconds must be a number of seconds above 0"),
        ({"seconds": float("nan")}, "seconds must be a number of seconds above 0"),
        ({"fair_after": -1.0}, "fair_after must be seconds of 0 or more"),
        ({"remote": Remote(), "wake": True}, "a server wakes nobody"),
        ({"remote": Remote(processes=65)}, "processes must be at most the contenders, 64"),
    ],
)
def test_a_scenario_that_cannot_be_simulated_is_refused(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Scenario(**given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"capacity": 0.0}, "capacity must be a number of requests a second above 0"),
        ({"lost": 1.0}, "lost must be a probability from 0 to below 1"),
        ({"lost": float("nan")}, "lost must be a probability from 0 to below 1"),
        ({"processes": 0}, "processes must be a whole number from 1"),
        ({"request_timeout": 0.0}, "request_timeout must be a number of seconds above 0"),
    ],
)
def test_a_server_that_cannot_be_simulated_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Remote(**given)


@pytest.mark.parametrize("schedule", [Spin().take(3), Constant(1.0).take(2)])
def test_a_schedule_that_gives_up_is_refused(schedule: Schedule) -> None:
    with pytest.raises(ValueError, match="gives up"):
        simulate(schedule, Scenario())


def test_two_who_hold_at_once_would_be_noticed() -> None:
    tally = Tally(2)
    tally.hold(0, 0.0, 0.0, 2.0)
    with pytest.raises(AssertionError, match="two hold the lock at 1"):
        tally.hold(1, 0.0, 1.0, 3.0)


def test_nothing_at_all_can_be_summed_up() -> None:
    outcome = summed_up([(Tally(1), 1.0, array("d"))])
    assert (outcome.utilisation, outcome.wait_longest, outcome.tries) == (0.0, 0.0, 0.0)
