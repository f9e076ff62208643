"""Leases: the deadline, the event that ends them, and who says why."""

from __future__ import annotations

import threading
import time
from math import inf

import pytest

from backofflock import LeaseLost, leases
from backofflock.errors import BackendUnavailable
from backofflock.leases import Backend, Busy, Grant, Lease, Lost, clock

from .memory import AsyncMemory, Memory, NativeMemory


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> Clock:
    time = Clock()
    monkeypatch.setattr(leases, "clock", time)
    return time


def lease_of(ttl: float = 30.0, since: float = 1000.0) -> Lease:
    return Lease("orders", "a token", fence=7, ttl=ttl, since=since)


def test_the_clock_is_monotonic_and_goes_as_fast_as_seconds() -> None:
    began_there, began = time.monotonic(), clock()
    time.sleep(0.02)
    assert 0.019 < clock() - began < time.monotonic() - began_there + 0.001


def test_a_lease_counts_down_to_its_deadline(virtual: Clock) -> None:
    lease = lease_of()
    assert lease.remaining() == 30.0
    virtual.now += 29.0
    assert lease.remaining() == 1.0
    assert not lease.lost.is_set()
    virtual.now += 1.0
    assert lease.remaining() == 0.0
    assert lease.lost.is_set()


def test_it_is_measured_from_before_the_request(virtual: Clock) -> None:
    virtual.now += 10.0  # the answer took so long
    assert lease_of(since=1000.0).remaining() == 20.0


def test_one_that_does_not_end(virtual: Clock) -> None:
    lease = lease_of(ttl=inf)
    virtual.now += 1e9
    assert lease.remaining() == inf
    assert not lease.lost.is_set()
    lease.ensure_held()


def test_ended_by_somebody_it_has_nothing_left(virtual: Clock) -> None:
    lease = lease_of()
    assert not lease.lost.was_in_time
    assert lease.lost.end("the key was deleted")
    assert lease.remaining() == 0.0
    assert lease.lost.was_in_time
    assert not lease.lost.end("another reason")
    assert lease.lost.reason == "the key was deleted"


def test_ensure_held_raises_how_it_was_lost(virtual: Clock) -> None:
    lease = lease_of()
    lease.ensure_held()
    virtual.now += 12.5
    failure = BackendUnavailable("memory://", "renew", "connection reset")
    lease.lost.failure = failure
    lease.lost.end("the key was deleted")
    with pytest.raises(LeaseLost) as raised:
        lease.ensure_held()
    error = raised.value
    assert (error.lock, error.fence, error.held) == ("orders", 7, 12.5)
    assert error.reason == "the key was deleted"
    assert error.__cause__ is failure


def test_past_its_deadline_no_one_needs_to_have_said_so(virtual: Clock) -> None:
    lease = lease_of()
    virtual.now += 31.0
    with pytest.raises(LeaseLost, match="it could not be renewed in time"):
        lease.ensure_held()


def test_past_its_deadline_a_release_is_not_the_reason(virtual: Clock) -> None:
    # Nobody noticed the loss before: the loop was blocked, or the machine slept.
    lease = lease_of()
    virtual.now += 31.0
    assert lease.lost.end("it was released")
    assert not lease.lost.was_in_time
    assert "released" not in str(lease.loss())


def test_repr(virtual: Clock) -> None:
    lease = lease_of()
    assert repr(lease) == "<Lease of 'orders', fence 7, 30.000 s left>"
    lease.lost.end("it was released")
    assert repr(lease) == "<Lease of 'orders', fence 7, lost>"


def test_of_two_that_end_it_at_once_one_is_first() -> None:
    # The keeper's loss and the holder's release meet; one of them has to know that it was first.
    class Met(Lost):
        outcome: bool | None = None

        def __setattr__(self, name: str, value: object) -> None:
            if name == "_has_ended" and value and self.outcome is None:
                self.outcome = True
                self.outcome = self.end("it was released")
            super().__setattr__(name, value)

    lost = Met(inf)
    assert lost.end("the key was deleted")
    assert lost.outcome is False
    assert lost.reason == "the key was deleted"
    assert lost.is_set()


def test_wait_returns_at_the_deadline_without_anybodys_doing() -> None:
    lost = Lost(clock() + 0.05)
    assert lost.wait(20.0)
    assert 0.0 <= clock() - lost.deadline < 5.0


def test_wait_gives_up_after_its_timeout() -> None:
    lost = Lost(inf)
    began = clock()
    assert not lost.wait(0.03)
    assert 0.03 <= clock() - began < 5.0
    assert not lost.wait(0)
    assert not lost.wait(-1)


def test_wait_follows_the_deadline_that_a_renewal_moves() -> None:
    lost = Lost(clock() + 1.0)  # time enough to move it on a busy machine
    ended: list[float] = []

    def wait() -> None:
        lost.wait(20.0)
        ended.append(clock())

    thread = threading.Thread(target=wait)
    thread.start()
    moved = lost.deadline + 0.15
    lost.deadline = moved
    thread.join(20)
    assert ended[0] >= moved


def test_wait_ends_when_somebody_ends_the_lease() -> None:
    for lost in (Lost(inf), Lost(clock() + 1e12)):  # longer than a wait may be
        thread = threading.Thread(target=lost.wait)
        thread.start()
        lost.end("the key was deleted")
        thread.join(20)
        assert not thread.is_alive()
        assert lost.wait()


def test_answers_are_values() -> None:
    assert Grant(7) == Grant(fence=7, ttl=inf)
    assert Busy() == Busy(retry_after=0.0)
    with pytest.raises(AttributeError):
        Grant(7).fence = 8  # type: ignore[misc]


@pytest.mark.parametrize("backend", [Memory(), AsyncMemory(), NativeMemory()])
def test_the_protocol_can_be_asked_for(backend: object) -> None:
    assert isinstance(backend, Backend)
    assert not isinstance(object(), Backend)
