"""Waits and holds as metrics and spans of OpenTelemetry."""

from __future__ import annotations

from time import time_ns

from .._checks import Duration
from ..events import LockEvent
from ._shared import BUCKETS, at_least, needing

with needing("opentelemetry", "opentelemetry"):
    from opentelemetry.metrics import MeterProvider, get_meter
    from opentelemetry.trace import StatusCode, TracerProvider, get_tracer

__all__ = ["OpenTelemetryListener"]


class OpenTelemetryListener:
    """Records two histograms, and a span for each wait and hold.

    ``backofflock.wait.duration`` and ``backofflock.hold.duration`` are in seconds, with the
    attributes ``backofflock.lock``, ``backofflock.face`` and ``backofflock.outcome``. A span is
    named ``wait`` or ``hold`` and the lock, and has ``backofflock.attempts`` and
    ``backofflock.waiter`` besides. It is a child of the span that is current where the wait or hold
    ends. One that ended in a timeout, an error or a lost lease has the status of an error.

    The providers are by default the global ones; this needs the API of OpenTelemetry alone, and
    does nothing until a program brings an SDK. Spans that went well and took less than `slow`
    seconds (or a timedelta) are left out, with None all of these. Raises ValueError or
    TypeError for what is no duration.

    >>> from backofflock import ThreadBackoffLock, instrument
    >>> with instrument(OpenTelemetryListener(slow=0.010)), ThreadBackoffLock(name="orders"):
    ...     pass
    """

    def __init__(
        self,
        *,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        slow: Duration | None = 0.0,
    ) -> None:
        self._slow = at_least(slow)
        self._tracer = get_tracer("backofflock", tracer_provider=tracer_provider)
        meter = get_meter("backofflock", meter_provider=meter_provider)
        self._wait = meter.create_histogram(
            "backofflock.wait.duration",
            unit="s",
            description="How long those waited who found the lock taken.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._hold = meter.create_histogram(
            "backofflock.hold.duration",
            unit="s",
            description="How long the lock was held.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )

    def __call__(self, event: LockEvent) -> None:
        """Record an event that ends now."""
        histogram = self._wait if event.kind == "wait" else self._hold
        attributes = {
            "backofflock.lock": event.lock,
            "backofflock.face": event.face,
            "backofflock.outcome": event.outcome,
        }
        histogram.record(event.seconds, attributes)
        if event.failed or event.seconds >= self._slow:
            self._add_span(event, attributes)

    def _add_span(self, event: LockEvent, attributes: dict[str, str]) -> None:
        end = time_ns()
        start = end - round(event.seconds * 1e9)
        span = self._tracer.start_span(
            f"{event.kind} {event.lock}", attributes=attributes, start_time=start
        )
        if event.kind == "wait":
            span.set_attribute("backofflock.attempts", event.attempts or 0)
            span.set_attribute("backofflock.waiter", event.waiter or "")
        if event.failed:
            span.set_status(StatusCode.ERROR, event.outcome)
        span.end(end)
