"""All interleavings of the small worlds; and the search finds what is wrong with faulty locks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from backofflock import BackoffLock, ThreadBackoffLock
from backofflock._contention import Contention

from ..contract import broken_locks as broken
from . import search as search_module
from .__main__ import main
from .cases import CASES
from .contenders import Contender
from .search import Found, replay, search, unlike
from .world import Case, Faults, Violation

SMALL = [case for case in CASES if case.first]
LARGE = [case for case in CASES if not case.first]


def check(case: Case) -> None:
    visited = search(case)
    assert visited.endings > 0
    assert visited.states > 50


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_every_interleaving_of_a_small_world(case: Case) -> None:
    check(case)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.name)
def test_every_interleaving_of_a_larger_world(case: Case) -> None:
    check(case)


# -- nothing is left out ---------------------------------------------------------------------------

FEW = [
    case
    for case in SMALL
    if case.name
    in {
        "two tasks of a loop, twice",
        "two threads, twice",
        "two threads that may die",
        "two threads with a window",
        "three tasks of a loop",
        "three threads",
        "two tasks and a task elsewhere",
        "a thread in a hurry",
        "a task and one past the lock",
    }
]


@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
def test_from_equal_states_the_same_can_happen(case: Case) -> None:
    assert unlike(case) is None


def test_a_state_that_leaves_something_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = search_module._state
    # Without what is on its way on the loops.
    monkeypatch.setattr(search_module, "_state", lambda world: (*whole(world)[:5], whole(world)[6]))
    assert unlike(next(case for case in FEW if case.name == "two tasks of a loop, twice"))


# -- it bites --------------------------------------------------------------------------------------

TASK, TWICE = Contender("a"), Contender("a", visits=2)
OTHER, AGAIN = Contender("b"), Contender("b", visits=2)


def faulty(make: Any, threads: bool = False) -> Any:
    face = ThreadBackoffLock if threads else BackoffLock
    return lambda schedule, **options: (
        broken.over_machine(partial(face, schedule), make)(**options).lock
    )


FAULTY = [
    pytest.param(
        broken.LosesKeyAtCancel, (TASK, OTHER), Faults(cancels=1), "keys?, and", id="loses-key"
    ),
    pytest.param(
        broken.DoublesKeyAtCancel, (TASK, TASK), Faults(cancels=1), "1 keys", id="doubles-key"
    ),
    pytest.param(broken.LetsHoldersBarge, (TWICE, TASK), Faults(), "overtook", id="barges"),
    pytest.param(
        broken.ReservesForEver, (TASK, AGAIN), Faults(deaths=1), "not over", id="reserves-for-ever"
    ),
    pytest.param(
        broken.NapsUntilWoken, (TASK, OTHER), Faults(lost=1), "it took", id="naps-until-woken"
    ),
    pytest.param(
        broken.KeepsTheCancelled, (TASK, TASK), Faults(cancels=1), "queue", id="keeps-cancelled"
    ),
    pytest.param(
        broken.WakesEverybody, (TASK, OTHER, OTHER), Faults(), "two wake-ups", id="wakes-everybody"
    ),
]


@pytest.mark.parametrize(("machine", "contenders", "faults", "words"), FAULTY)
def test_a_faulty_machine_is_found(
    machine: type[Contention], contenders: tuple[Contender, ...], faults: Faults, words: str
) -> None:
    case = Case("faulty", contenders, faults, make=faulty(machine))
    with pytest.raises(Found, match=words) as found:
        search(case)
    with pytest.raises(Violation, match=words):
        replay(case, found.value.history)
    case = replace(case, make=None)
    assert len(replay(case, [])) == 1  # and the sound lock comes to its end


def test_the_command_says_how_many_states_there_were(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--only", "two tasks of a loop, twice"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("two tasks of a loop, twice")
    assert int(printed[1].split()[6].replace(",", "")) > 100


def test_a_world_that_does_not_exist_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--only", "nothing"])
    assert stopped.value.code == 2
    assert "there is no world 'nothing'" in capsys.readouterr().err
