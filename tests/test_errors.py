"""The errors: what they can be caught as, the facts they carry, their text, and their copies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import anyio
import pytest

import backofflock
from backofflock import errors
from backofflock.errors import AcquireTimeout, BackoffLockError, OwnerDied, WouldBlock


class StockTimeout(AcquireTimeout):
    """An error of a user's own."""


TIMEOUT = {"lock": "orders", "attempts": 7, "waited": 2.0014, "reason": "timeout=2.0"}
BLOCK = {"lock": "orders", "waiters": 2}
DIED = {"lock": "orders", "owner": "Task-3", "attempts": 4, "waited": 0.25}

CASES: list[tuple[Callable[..., BackoffLockError], dict[str, object], type[Exception], str]] = [
    (
        AcquireTimeout,
        TIMEOUT,
        TimeoutError,
        "gave up on lock 'orders' after 7 attempts and 2.001 seconds (timeout=2.0)",
    ),
    (
        StockTimeout,
        TIMEOUT,
        TimeoutError,
        "gave up on lock 'orders' after 7 attempts and 2.001 seconds (timeout=2.0)",
    ),
    (
        WouldBlock,
        BLOCK,
        anyio.WouldBlock,
        "lock 'orders' is not to be had at once (1 attempt and 0.000 seconds, 2 in its queue)",
    ),
    (
        OwnerDied,
        DIED,
        RuntimeError,
        "Task-3 ended without releasing lock 'orders' (found after 4 attempts and 0.250 seconds)",
    ),
]


@pytest.mark.parametrize(("make", "facts", "also", "text"), CASES)
def test_an_error_is_caught_as_ours_and_as_the_one_it_stands_for(
    make: Callable[..., BackoffLockError],
    facts: dict[str, object],
    also: type[Exception],
    text: str,
) -> None:
    for family in (BackoffLockError, also):
        with pytest.raises(family) as caught:
            raise make(**facts)
        assert str(caught.value) == text


@pytest.mark.parametrize(("make", "facts", "also", "text"), CASES)
def test_an_error_carries_its_facts_and_nothing_else(
    make: Callable[..., BackoffLockError],
    facts: dict[str, object],
    also: type[Exception],
    text: str,
) -> None:
    error = make(*facts.values())
    assert vars(error) == facts
    assert error.args == (text,)
    if isinstance(error, OSError):  # a TimeoutError is one, and reads meaning into its arguments
        assert (error.errno, error.strerror, error.filename) == (None, None, None)


def copies(error: BackoffLockError) -> dict[str, BackoffLockError]:
    made = {"copy": copy.copy(error), "deepcopy": copy.deepcopy(error)}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        made[f"pickle {protocol}"] = pickle.loads(pickle.dumps(error, protocol))
    return made


@pytest.mark.parametrize(("make", "facts", "also", "text"), CASES)
def test_copies_by_every_means_say_and_carry_the_same(
    make: Callable[..., BackoffLockError],
    facts: dict[str, object],
    also: type[Exception],
    text: str,
) -> None:
    error = make(**facts)
    error.add_note("while shipping order 17")
    error.add_note("second try")
    for means, same in copies(error).items():
        assert same is not error, means
        assert type(same) is type(error), means
        assert isinstance(same, also), means
        assert str(same) == text, means
        assert repr(same) == repr(error), means
        assert same.args == error.args, means
        assert vars(same) == vars(error), means
        assert same.__notes__ == ["while shipping order 17", "second try"], means
        # and a copy of a copy, which is what a pool of processes may make
        assert vars(copy.copy(same)) == vars(error), means


def test_the_base_is_an_error_like_any_other() -> None:
    error = BackoffLockError("the lock", 3)
    assert not isinstance(error, (TimeoutError, RuntimeError, anyio.WouldBlock))
    for means, same in copies(error).items():
        assert (type(same), same.args, vars(same)) == (BackoffLockError, ("the lock", 3), {}), means


def test_one_attempt_is_singular() -> None:
    for tries, words in ((1, "after 1 attempt and"), (2, "after 2 attempts and")):
        timeout = AcquireTimeout("orders", attempts=tries, waited=0.0, reason="max_attempts=1")
        died = OwnerDied("orders", owner="Task-3", attempts=tries, waited=0.0)
        assert words in str(timeout)
        assert words in str(died)


def test_the_name_of_a_lock_is_quoted_whatever_it_is() -> None:
    for error in (
        AcquireTimeout("it's\n", attempts=1, waited=0.0, reason="timeout=0"),
        WouldBlock("it's\n", waiters=0),
        OwnerDied("it's\n", owner="Task-3", attempts=1, waited=0.0),
    ):
        assert repr("it's\n") in str(error)


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(backofflock.__all__)
    for name in errors.__all__:
        assert getattr(backofflock, name) is getattr(errors, name)
        assert issubclass(getattr(errors, name), BackoffLockError)
