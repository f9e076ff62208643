"""The listener for OpenTelemetry, with the real SDK."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from backofflock import LockEvent, instrument
from backofflock.instrumentation.opentelemetry import OpenTelemetryListener

from .events import ENDS, FAST, HELD, LOST, WAITED, contended_once

pytestmark = pytest.mark.usefixtures("nobody_else_is_told_of")


class Sdk:
    """Providers that keep what they are given."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._exporter = InMemorySpanExporter()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    def listener(self, **options: Any) -> OpenTelemetryListener:
        return OpenTelemetryListener(
            meter_provider=self.meters, tracer_provider=self.tracers, **options
        )

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def points(self) -> dict[tuple[str, str], tuple[Any, HistogramDataPoint]]:
        """Return the metric and its point by name and outcome."""
        data = self._reader.get_metrics_data()
        assert data is not None
        found = {}
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points:
                assert isinstance(point, HistogramDataPoint)
                outcome = (point.attributes or {})["backofflock.outcome"]
                found[metric.name, str(outcome)] = metric, point
        return found


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    made = Sdk()
    yield made
    made.meters.shutdown()
    made.tracers.shutdown()


def test_events_become_histograms(sdk: Sdk) -> None:
    listener = sdk.listener()
    for event in (*ENDS, WAITED):
        listener(event)
    points = sdk.points()
    assert {key: point.count for key, (_, point) in points.items()} == {
        ("backofflock.wait.duration", "acquired"): 2,
        ("backofflock.wait.duration", "timeout"): 1,
        ("backofflock.wait.duration", "cancelled"): 1,
        ("backofflock.wait.duration", "error"): 1,
        ("backofflock.hold.duration", "released"): 1,
        ("backofflock.hold.duration", "lost"): 1,
    }
    metric, point = points["backofflock.wait.duration", "acquired"]
    assert metric.unit == "s"
    assert point.sum == 0.5
    hold = points["backofflock.hold.duration", "released"][1]
    assert point.explicit_bounds[0] == hold.explicit_bounds[0] == 0.0001
    assert point.attributes == {
        "backofflock.lock": "orders",
        "backofflock.face": "BackoffLock",
        "backofflock.outcome": "acquired",
    }


def test_events_become_spans_that_end_now(sdk: Sdk) -> None:
    before = time.time_ns()
    sdk.listener()(WAITED)
    sdk.listener()(HELD)
    after = time.time_ns()
    wait, hold = sdk.spans()
    assert (wait.name, hold.name) == ("wait orders", "hold orders")
    for span, seconds in (wait, 0.25), (hold, 0.5):
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.end_time - span.start_time == seconds * 1e9
        assert before <= span.end_time <= after
        assert span.status.status_code is StatusCode.UNSET
    assert wait.attributes == {
        "backofflock.lock": "orders",
        "backofflock.face": "BackoffLock",
        "backofflock.outcome": "acquired",
        "backofflock.attempts": 3,
        "backofflock.waiter": "Task-7",
    }
    assert hold.attributes == {
        "backofflock.lock": "orders",
        "backofflock.face": "BackoffLock",
        "backofflock.outcome": "released",
    }


def test_what_failed_has_the_status_of_an_error(sdk: Sdk) -> None:
    for event in ENDS:
        sdk.listener()(event)
    errors = [
        span.status.description
        for span in sdk.spans()
        if span.status.status_code is StatusCode.ERROR
    ]
    assert errors == ["timeout", "error", "lost"]


@pytest.mark.parametrize(
    ("slow", "spans"), [(0.0, [FAST, HELD, LOST]), (0.01, [HELD, LOST]), (None, [LOST])]
)
def test_short_spans_can_be_left_out_and_are_counted(
    sdk: Sdk, slow: float | None, spans: list[LockEvent]
) -> None:
    listener = sdk.listener(slow=slow)
    for event in FAST, HELD, LOST:
        listener(event)
    outcomes = [(span.attributes or {})["backofflock.outcome"] for span in sdk.spans()]
    assert outcomes == [each.outcome for each in spans]
    assert sdk.points()["backofflock.hold.duration", "released"][1].count == 2


def test_spans_are_children_of_the_current_one(sdk: Sdk) -> None:
    tracer = sdk.tracers.get_tracer("the program")
    with instrument(sdk.listener()), tracer.start_as_current_span("request") as request:
        contended_once()
    wait, hold, _ = sdk.spans()
    assert (wait.name, hold.name) == ("wait orders", "hold orders")
    for span in wait, hold:
        assert span.parent is not None
        assert span.parent.span_id == request.get_span_context().span_id


def test_without_an_sdk_it_does_nothing() -> None:
    with instrument(OpenTelemetryListener()):
        contended_once()
