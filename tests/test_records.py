"""The records a lock hands out: frozen, comparable, copied whole, and readable."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import anyio
import pytest

import backofflock
from backofflock import records
from backofflock.events import LockEvent
from backofflock.records import LockStatistics, WaitDetails

DETAILS = WaitDetails(
    lock="orders", waiter="Task-3", attempt=4, delay=0.25, waited=1.5, remaining=0.5, ahead=2
)
STATISTICS = LockStatistics(
    locked=True,
    owner=None,
    tasks_waiting=3,
    contended=11,
    attempts=29,
    wakeups=17,
    timeouts=2,
    cancellations=1,
    total_wait=4.5,
    longest_wait=1.25,
)
EVENT = LockEvent("wait", "orders", "BackoffLock", "acquired", 1.25, 3, "Task-3")

Record = WaitDetails | LockStatistics | LockEvent


@pytest.mark.parametrize("record", [DETAILS, STATISTICS, EVENT])
def test_a_record_cannot_be_changed(record: Record) -> None:
    before = repr(record)
    for field in fields(record):
        with pytest.raises(FrozenInstanceError):
            setattr(record, field.name, 0)
        with pytest.raises(FrozenInstanceError):
            delattr(record, field.name)
    assert repr(record) == before
    assert not hasattr(record, "__dict__")  # so nothing can be added to it either


@pytest.mark.parametrize("record", [DETAILS, STATISTICS, EVENT])
def test_copies_by_every_means_are_equal(record: Record) -> None:
    pickled = (pickle.dumps(record, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1))
    for same in (copy.copy(record), copy.deepcopy(record), *map(pickle.loads, pickled)):
        assert type(same) is type(record)
        assert same == record
        assert hash(same) == hash(record)
        assert repr(same) == repr(record)


@pytest.mark.parametrize("record", [DETAILS, STATISTICS, EVENT])
def test_records_that_differ_in_one_field_are_not_equal(
    record: Record,
) -> None:
    for field in fields(record):
        changed: dict[str, Any] = {field.name: 99}
        assert replace(record, **changed) != record, field.name


def test_details_read_as_a_sentence() -> None:
    assert str(DETAILS) == (
        "Task-3 waits for orders: attempt 4 failed after 1.500 s, 2 ahead, "
        "next try in 0.250 s, 0.500 s left"
    )


def test_details_without_a_deadline_do_not_speak_of_one() -> None:
    assert str(replace(DETAILS, remaining=None)) == (
        "Task-3 waits for orders: attempt 4 failed after 1.500 s, 2 ahead, next try in 0.250 s"
    )
    assert str(replace(DETAILS, remaining=0.0)).endswith(", 0.000 s left")


def test_statistics_lead_with_the_fields_of_anyio() -> None:
    ours = [field.name for field in fields(LockStatistics)]
    theirs = [field.name for field in fields(anyio.LockStatistics)]
    assert ours[: len(theirs)] == theirs


def test_every_record_is_public() -> None:
    assert set(records.__all__) <= set(backofflock.__all__)
    for name in records.__all__:
        assert getattr(backofflock, name) is getattr(records, name)
