"""The listeners that write logs: logging and structlog."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture, capture_logs

from backofflock import instrument
from backofflock.instrumentation.logging import LoggingListener
from backofflock.instrumentation.structlog import StructlogListener

from .events import ENDS, FAST, HELD, LOST, WAITED, contended_once

pytestmark = pytest.mark.usefixtures("nobody_else_is_told_of")


def test_a_record_reads_as_a_sentence_and_has_all_fields(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "backofflock.events")
    LoggingListener()(WAITED)
    (record,) = caplog.records
    assert record.getMessage() == "Task-7 waited 0.250 s for orders: acquired, 3 attempts"
    assert (record.name, record.levelno) == ("backofflock.events", logging.DEBUG)
    fields = ("kind", "lock", "face", "outcome", "seconds", "attempts", "waiter")
    assert [getattr(record, field) for field in fields] == [
        *("wait", "orders", "BackoffLock", "acquired", 0.25, 3, "Task-7")
    ]


def test_levels_of_logging(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tests.locks")
    listener = LoggingListener(logger, level=logging.INFO)
    caplog.set_level(logging.INFO, "tests.locks")
    for event in ENDS:
        listener(event)
    assert [record.levelname for record in caplog.records] == [
        *("INFO", "WARNING", "INFO", "WARNING", "INFO", "WARNING")
    ]
    caplog.clear()
    caplog.set_level(logging.WARNING, "tests.locks")
    for event in ENDS:
        listener(event)
    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    ("slow", "written"),
    [
        (0.0, ENDS),
        (0.25, [each for each in ENDS if each.outcome != "cancelled"]),
        (timedelta(seconds=0.26), [each for each in ENDS if each.failed or each is HELD]),
        (None, [each for each in ENDS if each.failed]),
    ],
)
def test_what_went_well_and_fast_is_left_out(
    slow: Any, written: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "backofflock.events")
    with capture_logs() as logs:
        for event in ENDS:
            LoggingListener(slow=slow)(event)
            StructlogListener(slow=slow)(event)
    assert [record.getMessage() for record in caplog.records] == [str(each) for each in written]
    assert [(line["lock"], line["outcome"]) for line in logs] == [
        (each.lock, each.outcome) for each in written
    ]


@pytest.mark.parametrize("kind", [LoggingListener, StructlogListener])
@pytest.mark.parametrize("slow", [-1, float("nan"), "soon"])
def test_what_is_no_duration_is_refused(kind: Any, slow: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="slow must be"):
        kind(slow=slow)


def test_structlog_gets_the_fields() -> None:
    with capture_logs() as logs:
        for event in WAITED, FAST, LOST:
            StructlogListener(level=logging.INFO)(event)
    assert logs == [
        {
            "event": "lock wait",
            "log_level": "info",
            "lock": "orders",
            "face": "BackoffLock",
            "outcome": "acquired",
            "seconds": 0.25,
            "attempts": 3,
            "waiter": "Task-7",
        },
        {
            "event": "lock hold",
            "log_level": "info",
            "lock": "orders",
            "face": "BackoffLock",
            "outcome": "released",
            "seconds": 0.001,
        },
        {
            "event": "lock hold",
            "log_level": "warning",
            "lock": "jobs",
            "face": "DistributedLock",
            "outcome": "lost",
            "seconds": 30.0,
        },
    ]


def test_structlog_by_a_logger_of_the_programs_own() -> None:
    captured = LogCapture()
    logger = structlog.wrap_logger(
        None,
        processors=[captured],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        service="shop",
    )
    listener = StructlogListener(logger)  # at DEBUG, which this logger leaves out
    listener(WAITED)
    listener(LOST)
    assert [(line["service"], line["lock"]) for line in captured.entries] == [("shop", "jobs")]


def test_real_events_reach_both_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "backofflock.events")
    with capture_logs() as logs, instrument(LoggingListener()), instrument(StructlogListener()):
        contended_once()
    assert [(line["event"], line["outcome"]) for line in logs] == [
        ("lock wait", "timeout"),
        ("lock hold", "released"),
    ]
    assert [(each.levelname, each.outcome) for each in caplog.records] == [  # type: ignore[attr-defined]
        ("WARNING", "timeout"),
        ("DEBUG", "released"),
    ]
