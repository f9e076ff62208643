"""`BackendContract`: the promises of `backofflock.leases`, each as a test."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from functools import partial
from math import inf
from typing import Any, ClassVar

from ..distributed._calls import is_async
from ..leases import AsyncBackend, Backend, Busy, Grant, clock
from ._clients import (
    PATIENCE,
    Client,
    at_once,
    clients,
    fences_of,
    new_name,
    new_token,
    strictly_growing,
)

__all__ = ["BackendContract"]

LONG = 60.0
"""Seconds of a grant that no test outlives."""

EARLY = 0.01
"""Seconds that a grant may end before its time: the clocks of servers tick in milliseconds."""

LONG_NAME = "a long name, " * 500

NAMES = (
    *("orders", "Orders", "orders ", " orders", "ord", "orders/1", "orders/2", "/orders"),
    *("../orders", ".", "..", "orders/", "orders:1", "orders%3A1", "orders%", "{orders}"),
    *("{orders}:fence", "'orders'", '"orders"', "'; DROP TABLE orders; --", "orders\\"),
    *("orders*", "orders?", "-1", "0", "orders\n", "orders\t", "orders\0", "orders\0\0"),
    *("\N{CYRILLIC SMALL LETTER A}", "a", "\N{HOT BEVERAGE}", "\N{KANGAROO}"),
    *("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"),
    *(LONG_NAME, LONG_NAME + "1", LONG_NAME + "2"),
)
"""No two of them are the same lock."""


class BackendContract:
    """The tests of a backend: subclass it, say how yours is made, and let pytest collect it.

    >>> class TestMine(BackendContract):
    ...     def make_backend(self):
    ...         return MyBackend("localhost")

    Each test runs on every one of `hosts`: in threads, and in tasks, where the calls are made as
    `DistributedLock` makes them: natively if the backend can, else in worker threads. Not tested,
    since it takes a server that fails: that a call raises `BackendUnavailable` where nobody knows
    what became of the request.
    """

    hosts: ClassVar[tuple[str, ...]] = ("threads", "asyncio")
    """Where the calls are made: add ``"trio"`` if yours has native calls for it, leave out
    ``"threads"`` if they all are coroutines."""

    ttl: ClassVar[float] = 1.0
    """Seconds asked for where a grant is to end by itself."""

    slack: ClassVar[float] = 5.0
    """Seconds that the backend may take after the end of a grant to give the lock to another."""

    def make_backend(self) -> Backend | AsyncBackend:
        """Return another backend of one and the same place; its ``close`` or ``aclose`` is called.

        Tests call it more than once: two backends are two processes of a fleet.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how its backend is made")

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Let pytest run each test on each of `hosts`."""
        if "host" in metafunc.fixturenames:
            metafunc.parametrize("host", self.hosts)
        if "loop" in metafunc.fixturenames:
            metafunc.parametrize("loop", [host for host in self.hosts if host != "threads"])

    # -- to ask for a lock -------------------------------------------------------------------------

    def test_a_free_lock_is_granted_to_one(self, host: str) -> None:
        """`Grant` if `token` has lock `n` from now on, else `Busy`; whichever client asks."""
        name, a, b = new_name(), new_token(), new_token()
        with self._clients(host, 2) as (one, two):
            one.gets(name, a, LONG)
            for client in (one, two):
                answer = client.try_acquire(name, b, LONG)
                assert isinstance(answer, Busy), f"another has the lock, and b was given {answer}"

    def test_asking_again_gets_the_same_grant(self, host: str) -> None:
        """`Grant` if `token` had it already: its first answer may have been lost on the way."""
        name, a, b = new_name(), new_token(), new_token()
        with self._clients(host, 1) as (one,):
            fences = fences_of(one.gets(name, a, LONG))
            for step in ("its acquire", "its renewal", "the question of another"):
                if step == "its renewal":
                    assert one.renew(name, a, LONG), "a has it"
                if step == "the question of another":
                    one.try_acquire(name, b, LONG)
                again = one.try_acquire(name, a, LONG)
                assert isinstance(again, Grant), f"after {step} the holder is told {again}"
                assert fences_of(again) == fences, f"after {step} fence {fences} became {again}"

    def test_asking_at_once_gets_one_grant(self, host: str) -> None:
        """Calls for one token may overlap, where one was given up as too slow."""
        with self._clients(host, 1) as (one,):
            for _ in range(5):
                name, a = new_name(), new_token()
                grants = at_once([partial(one.gets_or_fails, name, a, LONG)] * 4)
                grants.append(one.gets(name, a, LONG))
                fences = {grant.fence for grant in grants if grant is not None}
                assert len(fences) == 1, f"one token got fences {fences}"
                assert one.release(name, a), "a had it"
                one.gets(name, new_token(), LONG)

    def test_a_repeated_grant_lasts_as_long_as_it_says(self, host: str) -> None:
        """`Grant.ttl` counts from before the request that it answers, also if that was repeated."""
        name, a = new_name(), new_token()
        with self._clients(host, 2) as (one, two):
            one.gets(name, a, self.ttl)
            time.sleep(self.ttl * 0.7)
            asked = clock()
            self._lasts(two, name, new_token(), one.gets(name, a, self.ttl), asked)

    # -- to keep it --------------------------------------------------------------------------------

    def test_renew_tells_whether_it_is_held(self, host: str) -> None:
        """True: `token` still has it. False: it has lost it, or never had it; nobody gets it."""
        name, a, b = new_name(), new_token(), new_token()
        with self._clients(host, 2) as (one, two):
            assert not one.renew(name, a, LONG), "nobody has it"
            one.gets(name, a, LONG)
            assert one.renew(name, a, LONG), "a has it"
            for client in (one, two):
                assert not client.renew(name, b, LONG), "b does not have it"
            assert one.renew(name, a, LONG), "a has it, whatever b asked for"
            assert one.release(name, a), "a had it"
            assert not one.renew(name, a, LONG), "a has it no longer"
            two.gets(name, b, LONG)
            assert not one.renew(name, a, LONG), "b has it"

    def test_a_renewed_grant_lasts(self, host: str) -> None:
        """True: `token` still has it, for another so many seconds."""
        name, a, b = new_name(), new_token(), new_token()
        with self._clients(host, 2) as (one, two):
            asked = clock()
            grant = one.gets(name, a, self.ttl)
            for _ in range(4):
                time.sleep(self.ttl / 3)
                asked = clock()
                assert one.renew(name, a, self.ttl), "it was renewed in time"
                assert isinstance(two.try_acquire(name, b, LONG), Busy), "it was renewed in time"
            self._lasts(two, name, b, grant, asked)

    def test_a_grant_ends_by_itself(self, host: str) -> None:
        """After `s` seconds without a renewal another gets the lock, with a larger fence."""
        name, a, b = new_name(), new_token(), new_token()
        with self._clients(host, 2) as (one, two):
            asked = clock()
            grant = one.gets(name, a, self.ttl)
            if not self._lasts(two, name, b, grant, asked):
                return
            after = two.gets(name, b, LONG)
            assert after.fence > grant.fence, f"fence {after.fence} came after {grant.fence}"
            assert not one.renew(name, a, LONG), "a has lost it, for good"
            assert not one.release(name, a), "a has it no longer"
            assert two.renew(name, b, LONG), "b has it, whatever a does"

    # -- to give it back ---------------------------------------------------------------------------

    def test_release_frees_the_lock(self, host: str) -> None:
        """True: `token` had it and has it no longer."""
        name, a, b = new_name(), new_token(), new_token()
        with self._clients(host, 2) as (one, two):
            one.gets(name, a, LONG)
            assert isinstance(two.try_acquire(name, b, LONG), Busy), "a has it"
            assert one.release(name, a), "a had it"
            two.gets(name, b, LONG)

    def test_any_thread_may_renew_and_release(self, host: str) -> None:
        """Calls may come from several threads."""
        name, a, b = new_name(), new_token(), new_token()
        with self._clients(host, 1) as (one,):
            one.gets(name, a, LONG)
            assert at_once([partial(one.renew, name, a, LONG)]) == [True], "a has it"
            assert at_once([partial(one.release, name, a)]) == [True], "a had it"
            at_once([partial(one.gets, name, b, LONG)])
            assert one.renew(name, b, LONG), "b has it, whose thread has ended"
            assert one.release(name, b), "b had it"

    def test_release_again_changes_nothing(self, host: str) -> None:
        """It may be sent again without harm, because the answer was lost."""
        name, a, b = new_name(), new_token(), new_token()
        with self._clients(host, 1) as (one,):
            one.gets(name, a, LONG)
            assert one.release(name, a), "a had it"
            one.release(name, a)  # True if it remembers, False if it looks: both are true
            one.gets(name, b, LONG)
            one.release(name, a)
            assert one.renew(name, b, LONG), "b has it, whatever a does"

    def test_release_of_what_was_never_held_changes_nothing(self, host: str) -> None:
        """False: it did not have it. Release is called for every token."""
        name, a, b = new_name(), new_token(), new_token()
        with self._clients(host, 1) as (one,):
            assert not one.release(name, new_token()), "nobody ever asked for it"
            one.gets(name, a, LONG)
            assert isinstance(one.try_acquire(name, b, LONG), Busy), "a has it"
            assert not one.release(name, b), "b did not have it"
            assert one.renew(name, a, LONG), "a has it, whatever b does"

    def test_a_released_token_gets_nothing_any_more(self, host: str) -> None:
        """Never granted to `token` again, whether it had it, was refused it, or never asked."""
        name = new_name()
        tokens = {how: new_token() for how in ("was refused", "never asked", "had it")}
        with self._clients(host, 1) as (one,):
            one.gets(name, tokens["had it"], LONG)
            one.try_acquire(name, tokens["was refused"], LONG)
            for token in tokens.values():
                one.release(name, token)
            for is_free in (True, False):
                for how, token in tokens.items():
                    refused = one.is_refused(name, token, LONG)
                    assert refused, f"one that {how} got the lock after its release"
                    assert not one.renew(name, token, LONG), f"one that {how} has released"
                if is_free:
                    one.gets(name, new_token(), LONG)

    def test_a_release_beats_an_acquire_under_way(self, host: str) -> None:
        """Not even by a `try_acquire` that is under way meanwhile."""
        name = new_name()
        with self._clients(host, 1) as (one,):
            for moment in moments(one):
                a, b = new_token(), new_token()

                def release(token: str, moment: float) -> None:
                    time.sleep(moment)
                    one.release(name, token)

                at_once([partial(one.is_refused, name, a, LONG), partial(release, a, moment)])
                answer = one.try_acquire(name, b, LONG)
                assert isinstance(answer, Grant), "it is held for a token that was released"
                assert one.release(name, b), "b had it"

    def test_a_cancelled_acquire_can_be_released(self, loop: str) -> None:
        """A call that is cancelled may have been carried out; the release follows at once."""
        name = new_name()
        with self._clients(loop, 2) as (one, two):
            for moment in moments(one):
                a = new_token()
                one.gives_up(name, a, LONG, moment)
                one.release(name, a)
                for client in (one, two):
                    b = new_token()
                    client.gets(name, b, LONG)
                    assert client.release(name, b), "b had it"

    # -- what holds among many ---------------------------------------------------------------------

    def test_fences_grow(self, host: str) -> None:
        """Larger than all those of every earlier grant of the name, whoever got that."""
        name = new_name()
        with self._clients(host, 2) as both:
            fences: list[int] = []
            for i in range(50):
                token, client = new_token(), both[i % 2]
                fences += fences_of(client.gets(name, token, LONG))
                assert client.release(name, token), "it had it"
            assert strictly_growing(fences), f"fences must grow: {fences}"

    def test_names_are_locks_of_their_own(self, host: str) -> None:
        """Whatever is in a name, only the same name is the same lock."""
        place = new_name()
        with self._clients(host, 2) as (one, two):
            tokens = {place + name: new_token() for name in NAMES}
            for name, token in tokens.items():
                answer = one.try_acquire(name, token, LONG)
                assert isinstance(answer, Grant), f"{name[-20:]!r} is another lock: {answer}"
            for name in tokens:
                answer = two.try_acquire(name, new_token(), LONG)
                assert isinstance(answer, Busy), f"{name[-20:]!r} is taken, and got {answer}"
            for name, token in tokens.items():
                assert one.release(name, token), f"{name[-20:]!r} was held"

    def test_never_two_at_once(self, host: str) -> None:
        """Of all that contend one has the lock, and they get it in the order of their fences."""
        name = new_name()
        mutex, inside, most, fences = threading.Lock(), 0, 0, list[int]()

        def contend(client: Client) -> None:
            nonlocal inside, most
            for _ in range(5):
                token, latest = new_token(), clock() + PATIENCE
                while isinstance(answer := client.try_acquire(name, token, LONG), Busy):
                    assert clock() < latest, f"not granted in {PATIENCE} s, though all release"
                    time.sleep(max(0.002, answer.retry_after))
                with mutex:
                    inside += 1
                    most = max(most, inside)
                    fences.extend(fences_of(answer))
                time.sleep(0.001)
                with mutex:
                    inside -= 1
                assert client.release(name, token), "it had it"

        with self._clients(host, 2) as both:
            at_once([partial(contend, client) for client in both * 4])
        assert most == 1, f"{most} had the lock at once"
        assert strictly_growing(fences), f"fences must grow: {fences}"

    def test_threads_and_tasks_share_the_locks(self, loop: str) -> None:
        """What ``native`` gives are other calls for the same locks."""
        name = new_name()
        with self._clients(loop, 1) as (one,):
            one.gets(name, new_token(), LONG)
            if is_async(one.backend):
                return
            with self._clients("threads", 1) as (two,):
                answer = two.try_acquire(name, new_token(), LONG)
                assert isinstance(answer, Busy), f"a task has it, and a thread was given {answer}"

    # -- aids --------------------------------------------------------------------------------------

    def _clients(self, host: str, number: int) -> AbstractContextManager[list[Client]]:
        return clients(self.make_backend, host, number)

    def _lasts(self, other: Client, name: str, token: str, grant: Grant, asked: float) -> bool:
        """Check that a grant lasts as long as it says; return whether `token` has the lock now."""
        if grant.ttl == inf:
            time.sleep(self.ttl * 1.5)
            answer = other.try_acquire(name, token, LONG)
            assert isinstance(answer, Busy), f"a grant without an end went to another: {answer}"
            return False
        while isinstance(other.try_acquire(name, token, LONG), Busy):
            late = clock() - asked - grant.ttl
            assert late < self.slack, f"a grant of {grant.ttl} s did not end in {late:.3f} s more"
            time.sleep(0.02)
        early = asked + grant.ttl - clock()
        assert early < EARLY, f"a grant of {grant.ttl} s ended {early:.3f} s before its time"
        return True


def moments(client: Client) -> list[float]:
    """Return seconds after the start of an acquire that fall into all parts of it."""
    name, took = new_name(), 0.0
    for _ in range(3):
        token, asked = new_token(), clock()
        client.gets(name, token, LONG)
        took = clock() - asked  # the first may have had to connect
        client.release(name, token)
    return [took * i / 16 for i in range(20)]
