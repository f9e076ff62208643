"""Risk: an acquire that comes late takes the lock for a token that was released."""

from __future__ import annotations

import pytest

from backofflock.backends import _tokens
from backofflock.backends._tokens import Recent, Tokens

A, B = ("orders", "a"), ("orders", "b")


def test_an_acquire_that_was_answered_is_not_overtaken() -> None:
    tokens = Tokens()
    assert tokens.acquires(A)
    tokens.was_answered(A)
    assert not tokens.releases(A)
    assert not tokens.releases(B), "nobody asked for it"


def test_one_that_was_not_may_be() -> None:
    tokens = Tokens()
    assert tokens.acquires(A)
    assert tokens.acquires(A), "it is sent again"
    tokens.was_answered(A)
    assert tokens.releases(A)


def test_nothing_is_acquired_after_the_release() -> None:
    tokens = Tokens()
    tokens.acquires(A)
    tokens.releases(A)
    assert not tokens.acquires(A)
    assert tokens.acquires(("bills", "a")), "it is another lock"
    assert not tokens.releases(A), "what was refused was not sent"


def test_an_answer_that_comes_after_the_release_is_nothing_new() -> None:
    tokens = Tokens()
    tokens.acquires(A)
    assert tokens.releases(A)
    tokens.was_answered(A)
    assert not tokens._sent


def test_a_release_that_failed_overtakes_again() -> None:
    tokens = Tokens()
    tokens.acquires(A)
    assert tokens.releases(A)
    tokens.release_failed(A)
    assert tokens.releases(A)


def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tokens, "MANY", 10)
    recent = Recent()
    for n in range(100):
        recent.add(("orders", str(n)))
        assert all(("orders", str(late)) in recent for late in range(max(0, n - 9), n + 1))
    assert sum(("orders", str(n)) in recent for n in range(100)) <= 20
