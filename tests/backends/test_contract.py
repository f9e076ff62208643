"""The contract: every backend passes it, and each faulty one is caught by the test it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from backofflock import AsyncBackend, Backend, connect
from backofflock.testing import BackendContract

from . import broken_backends as broken
from .memory import MemoryBackend, Place
from .servers.base import Server

EVERYWHERE = ("threads", "asyncio", "trio")


class OfServer(BackendContract):
    """The contract of a backend whose server the fixtures start."""

    hosts = EVERYWHERE
    name: ClassVar[str]
    _server: Server

    @pytest.fixture(autouse=True)
    def _started(self, server_of: Callable[[str], Server]) -> None:
        self._server = server_of(self.name)

    def make_backend(self) -> Backend:
        return connect(self._server.url())


class TestFile(OfServer):
    name = "file"


class TestRedis(OfServer):
    name = "redis"


class TestPostgres(OfServer):
    name = "postgres"


class TestEtcd(OfServer):
    name = "etcd"


class OfMemory(BackendContract):
    """The contract of a backend in memory."""

    hosts = EVERYWHERE
    ttl = 0.15
    slack = 0.5

    def __init__(self, kind: Callable[[Place], Backend] = MemoryBackend) -> None:
        self._kind = kind
        self._place = Place()

    def make_backend(self) -> Backend | AsyncBackend:
        return self._kind(self._place)


class TestMemory(BackendContract):
    hosts: ClassVar[tuple[str, ...]] = EVERYWHERE
    ttl = 0.4  # two thirds of it a renewal may be late
    slack = 0.5
    place = Place()

    def make_backend(self) -> Backend | AsyncBackend:
        return MemoryBackend(self.place)


class TestCoroutines(TestMemory):
    hosts = ("asyncio", "trio")

    def make_backend(self) -> Backend | AsyncBackend:
        return broken.Coroutines(MemoryBackend(self.place))


FAULTS = [
    (broken.GrantsToAnybody, "a_free_lock_is_granted_to_one", "threads"),
    (broken.GrantsToAnybody, "never_two_at_once", "threads"),
    (broken.KeepsToItself, "a_free_lock_is_granted_to_one", "threads"),
    (broken.ForgetsItsHolder, "asking_again_gets_the_same_grant", "threads"),
    (broken.CountsEveryRequest, "asking_again_gets_the_same_grant", "threads"),
    (broken.MovesItsBlock, "asking_again_gets_the_same_grant", "threads"),
    (broken.LooksThenTakes, "asking_at_once_gets_one_grant", "threads"),
    (broken.LooksThenTakes, "never_two_at_once", "threads"),
    (broken.RepeatsWithoutProlonging, "a_repeated_grant_lasts_as_long_as_it_says", "threads"),
    (broken.RenewsForAnybody, "renew_tells_whether_it_is_held", "threads"),
    (broken.RenewsWhatIsFree, "renew_tells_whether_it_is_held", "threads"),
    (broken.RenewsNothing, "a_renewed_grant_lasts", "threads"),
    (broken.AnswersNothing, "renew_tells_whether_it_is_held", "asyncio"),
    (broken.EndsEarly, "a_grant_ends_by_itself", "threads"),
    (broken.NeverEnds, "a_grant_ends_by_itself", "threads"),
    (broken.PromisesNoEnd, "a_grant_ends_by_itself", "threads"),
    (broken.ReleasesForAnybody, "release_of_what_was_never_held_changes_nothing", "threads"),
    (broken.ReleasesNothing, "release_frees_the_lock", "threads"),
    (broken.ReleasesOnce, "release_again_changes_nothing", "threads"),
    (broken.IsOfOneThread, "any_thread_may_renew_and_release", "threads"),
    (broken.GrantsWhatWasReleased, "a_released_token_gets_nothing_any_more", "threads"),
    (broken.RemembersItsHoldersOnly, "a_released_token_gets_nothing_any_more", "asyncio"),
    (broken.IsOvertaken, "a_release_beats_an_acquire_under_way", "threads"),
    (broken.FenceStandsStill, "fences_grow", "threads"),
    (broken.FenceOfEachClient, "fences_grow", "threads"),
    (broken.GivesItsBlockTwice, "fences_grow", "threads"),
    (broken.GivesItsBlockTwice, "never_two_at_once", "threads"),
    (broken.GivesAnEmptyBlock, "a_free_lock_is_granted_to_one", "threads"),
    (broken.IgnoresCase, "names_are_locks_of_their_own", "threads"),
    (broken.CutsNames, "names_are_locks_of_their_own", "threads"),
    (broken.StripsNames, "names_are_locks_of_their_own", "threads"),
    (broken.NormalizesNames, "names_are_locks_of_their_own", "threads"),
    (broken.EndsNamesAtNul, "names_are_locks_of_their_own", "threads"),
    (broken.IsElsewhereForTasks, "threads_and_tasks_share_the_locks", "asyncio"),
    (broken.FinishesWhenCancelled, "a_cancelled_acquire_can_be_released", "asyncio"),
    (broken.FinishesWhenCancelled, "a_cancelled_acquire_can_be_released", "trio"),
]


@pytest.mark.parametrize(
    ("fault", "promise", "host"), FAULTS, ids=[f"{f.__name__}-{p}-{h}" for f, p, h in FAULTS]
)
def test_a_fault_is_caught(fault: Callable[[Place], Backend], promise: str, host: str) -> None:
    expected = KeyError if fault is broken.ReleasesOnce else AssertionError
    with pytest.raises(expected):
        getattr(OfMemory(fault), f"test_{promise}")(host)


def test_every_promise_has_a_fault() -> None:
    promises = {name for name in vars(BackendContract) if name.startswith("test_")}
    assert {f"test_{promise}" for _, promise, _ in FAULTS} == promises


def test_coroutines_cannot_be_called_in_threads() -> None:
    contract = OfMemory(lambda place: broken.Coroutines(MemoryBackend(place)))  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match='Set hosts in your subclass .* to \\("asyncio",\\)'):
        contract.test_release_frees_the_lock("threads")


def test_a_contract_without_a_backend_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="BackendContract must say how its backend"):
        BackendContract().test_release_frees_the_lock("threads")
