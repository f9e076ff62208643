"""No preemption of two threads breaks the lock; and the search that says so finds faulty locks."""

from __future__ import annotations

import ast
import asyncio
import json
import threading
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

import pytest

from backofflock import Schedule, Spin, ThreadBackoffLock
from tests.contract.broken_locks import LosesWakeUpAtCancel, WakesEverybody, of_face, over_machine
from tests.contract.subjects import Make

from . import faults
from .__main__ import main
from .plays import Play, direct
from .points import BUILT_IN, METHODS, Points
from .scenarios import NAP, SCENARIOS, Scenario
from .scheduler import Body, Stage
from .search import Tally, perform, search

pytestmark = pytest.mark.untraced  # both trace the same threads


def searched(name: str, bound: int, points: Points | None = None, *, reduce: bool = True) -> Tally:
    with Stage(points) as stage:
        return search(stage, SCENARIOS[name], bound, reduce=reduce)


ENDS: dict[str, set[tuple[str, ...]]] = {
    "one-each-strict": {("A", "B"), ("B", "A")},
    "three-strict": {("A", "A", "B"), ("A", "B", "A"), ("B", "A", "A")},
    "try": {("A", "A", "B"), ("taken", "taken", "B"), ("taken", "B", "A"), ("B", "taken", "A")},
    "timeout": {("B", "A"), ("B", "timed out"), ("timed out", "B")},
    "task-and-thread": {("task", "thread"), ("thread", "task")},
    "task-times-out": {("task",), ("timed out",)},
    "two-tasks": {("first", "second", "thread"), ("first", "thread", "second")},
    "task-cancelled": {
        ("cancelled", "thread"),
        ("task", "got in", "thread"),
        ("task", "thread", "got in"),
        ("thread", "cancelled"),
    },
}
"""Ways in which a scenario must be seen to end: else its search is in vain."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_plan_with_two_preemptions_breaks_a_promise(name: str) -> None:
    tally = searched(name, 2)
    assert not tally.found, "; ".join(map(str, tally.found))
    assert all(tally.plays[preemptions] for preemptions in range(3))
    assert ENDS.get(name, set()) <= set(tally.outcomes)


def test_threads_that_are_not_on_stage_take_no_steps() -> None:
    alone = searched("two-loops", 1)
    lock, is_over = ThreadBackoffLock(), threading.Event()

    def bystander() -> None:
        while not is_over.is_set():
            with lock:
                pass

    thread = threading.Thread(target=bystander)
    thread.start()
    try:
        beside = searched("two-loops", 1)
    finally:
        is_over.set()
        thread.join()
    assert (beside.plays, beside.points) == (alone.plays, alone.points)


# -- the search bites ------------------------------------------------------------------------------

THREADS_OVER = partial(over_machine, ThreadBackoffLock)

BITTEN: list[tuple[str, Make, list[str]]] = [
    ("checks-then-takes", of_face(faults.ChecksThenTakes), ["one-each-default", "try"]),
    (
        "wakes-before-the-key",
        of_face(faults.WakesBeforeTheKey),
        ["release-by-another", "task-wakes-up"],
    ),
    ("looks-before-the-key", of_face(faults.LooksBeforeTheKey), ["one-each-default"]),
    ("clears-owner-late", of_face(faults.ClearsOwnerLate), ["two-loops"]),
    (
        "no-try-after-joining",
        THREADS_OVER(faults.NoTryAfterJoining),
        ["one-each-default", "task-wakes-up"],
    ),
    ("forgets-early-wake-ups", THREADS_OVER(faults.ForgetsEarlyWakeUps), ["one-each-default"]),
    ("loses-key-at-timeout", THREADS_OVER(faults.LosesKeyAtTimeout), ["timeout"]),
    (
        "loses-wake-up-at-cancel",
        THREADS_OVER(LosesWakeUpAtCancel),
        ["task-cancelled", "attempts-left"],
    ),
    ("wakes-everybody", THREADS_OVER(WakesEverybody), ["two-tasks"]),
]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        pytest.param(make, name, id=f"{fault}-{name}")
        for fault, make, names in BITTEN
        for name in names
    ],
)
def test_a_faulty_lock_is_found_and_its_plan_finds_it_again(make: Make, name: str) -> None:
    scenario = SCENARIOS[name]
    with Stage(Points([Path(faults.__file__)])) as stage:
        (found,) = search(stage, scenario, 2, make=make).found
        assert tuple(perform(stage, scenario, found.plan, make).complaints) == found.complaints


def held_for_ever(play: Play, schedule: Schedule) -> tuple[Body, Body]:
    subject = play.lock(schedule=schedule)
    direct(subject).acquire()
    return play.visits(subject, "A"), lambda: None


def waits_for_nothing(play: Play) -> tuple[Body, Body]:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    return play.loop(main), lambda: None


@pytest.mark.parametrize(
    ("cast", "time_passes", "complaint"),
    [
        (partial(held_for_ever, schedule=Spin()), False, "waits for ever: 4000 steps"),
        (partial(held_for_ever, schedule=NAP), True, "waits for ever: 4000 steps"),
        (partial(held_for_ever, schedule=NAP), False, "thread 0 was not woken"),
        (waits_for_nothing, False, "thread 0 waits for ever: nobody is left to wake it"),
    ],
    ids=["spins", "naps-on", "naps-in-vain", "waits-for-nothing"],
)
def test_a_hang_is_called_off_with_its_plan(
    cast: Callable[[Play], tuple[Body, Body]], time_passes: bool, complaint: str
) -> None:
    with Stage() as stage:
        (found,) = search(stage, Scenario("hangs", cast, time_passes), 1).found
        assert complaint in str(found)
        assert found.replay == "hangs:"
        assert not search(stage, SCENARIOS["one-each-strict"], 1).found, "it left its traces"


# -- what is left out makes no difference ----------------------------------------------------------


@pytest.mark.parametrize("name", ["one-each-strict", "try", "timeout"])
def test_equal_plans_have_equal_outcomes(name: str) -> None:
    reduced = searched(name, 2)
    full = searched(name, 2, reduce=False)
    assert not full.found
    assert full.total > reduced.total
    assert set(full.outcomes) == set(reduced.outcomes)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (of_face(faults.ClearsOwnerLate), "two-loops"),
        (of_face(faults.ChecksThenTakes), "one-each-strict"),
        (of_face(faults.LooksBeforeTheKey), "one-each-barging"),
    ],
    ids=["clears-owner-late", "checks-then-takes", "looks-before-the-key"],
)
def test_equal_plans_break_equal_promises(make: Make, name: str) -> None:
    broken = []
    for reduce in (True, False):
        with Stage(Points([Path(faults.__file__)])) as stage:
            tally = search(stage, SCENARIOS[name], 2, make=make, reduce=reduce, most_found=10**6)
        broken.append({complaint for found in tally.found for complaint in found.complaints})
    assert broken[0] == broken[1] != set()


def test_nothing_shared_is_loaded_between_a_function_and_its_call() -> None:
    """Else the call would touch its place later than at its point; see `points`."""
    points = Points()
    for path in points.files:
        for call in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
            match call:
                case ast.Call(func=ast.Attribute(attr=name)) if name in METHODS:
                    pass
                case ast.Call(func=ast.Name(id=name)) if name in BUILT_IN:
                    pass
                case _:
                    continue
            for part in chain.from_iterable(map(ast.walk, [*call.args, *call.keywords])):
                assert not isinstance(part, ast.Subscript), f"{path}:{part.lineno}"
                if isinstance(part, ast.Attribute):
                    assert part.attr not in points.shared, f"{path}:{part.lineno}"


@pytest.mark.parametrize("name", ["one-each-strict", "timeout", "task-wakes-up"])
def test_a_preemption_before_any_other_opcode_shows_nothing_new(name: str) -> None:
    full = searched(name, 1, Points(every_opcode=True), reduce=False)
    assert not full.found
    assert set(full.outcomes) == set(searched(name, 1).outcomes)


# -- the command -----------------------------------------------------------------------------------


def test_the_command_counts_the_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tallies.json"
    assert main(["--only", "one-each-strict", "--only", "try", "--json", str(file)]) == 0
    assert "of 2 scenarios" in capsys.readouterr().out
    one, two = json.loads(file.read_text(encoding="utf-8"))["scenarios"]
    assert (one["scenario"], two["scenario"]) == ("one-each-strict", "try")
    assert one["plays"]["2"] > 0 == len(one["found"])


def test_the_command_says_which_plan_broke_what(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: ThreadBackoffLock, *exc: object) -> None:
        pass

    monkeypatch.setattr(ThreadBackoffLock, "__exit__", broken)
    assert main(["--only", "one-each-strict"]) == 1
    out = capsys.readouterr().out
    assert "BROKEN" in out
    (replay,) = [line.split('"')[1] for line in out.splitlines() if "--replay" in line]
    assert main(["--replay", replay]) == 1
    assert "BROKEN" in capsys.readouterr().out
    monkeypatch.undo()
    assert main(["--replay", replay]) == 0
