"""Waits and holds as metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import LockEvent
from ._shared import BUCKETS, needing

with needing("prometheus_client", "prometheus"):
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

__all__ = ["PrometheusListener"]


class PrometheusListener:
    """Counts and times waits and holds.

    ================================  =========  ===============================
    metric                            kind       labels
    ================================  =========  ===============================
    ``backofflock_wait_seconds``      histogram  ``lock``, ``face``
    ``backofflock_waits_total``       counter    ``lock``, ``face``, ``outcome``
    ``backofflock_hold_seconds``      histogram  ``lock``, ``face``
    ``backofflock_leases_lost_total`` counter    ``lock``, ``face``
    ================================  =========  ===============================

    `registry` is where they are registered, `buckets` the upper bounds of the histograms in
    seconds. Raises ValueError, as prometheus_client does, where they are registered already.

    >>> from prometheus_client import CollectorRegistry
    >>> from backofflock import ThreadBackoffLock, instrument
    >>> registry = CollectorRegistry()
    >>> with instrument(PrometheusListener(registry)), ThreadBackoffLock(name="orders"):
    ...     pass
    >>> labels = {"lock": "orders", "face": "ThreadBackoffLock"}
    >>> registry.get_sample_value("backofflock_hold_seconds_count", labels)
    1.0
    """

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, *, buckets: Sequence[float] = BUCKETS
    ) -> None:
        labels = ("lock", "face")
        self._wait = Histogram(
            "backofflock_wait_seconds",
            "How long those waited who found the lock taken, whatever came of it.",
            labels,
            registry=registry,
            buckets=buckets,
        )
        self._waits = Counter(
            "backofflock_waits",
            "Waits that have ended, by how.",
            (*labels, "outcome"),
            registry=registry,
        )
        self._hold = Histogram(
            "backofflock_hold_seconds",
            "How long the lock was held.",
            labels,
            registry=registry,
            buckets=buckets,
        )
        self._lost = Counter(
            "backofflock_leases_lost",
            "Leases that ended before they were released.",
            labels,
            registry=registry,
        )

    def __call__(self, event: LockEvent) -> None:
        """Count an event."""
        lock, face, outcome = event.lock, event.face, event.outcome
        if event.kind == "wait":
            self._wait.labels(lock, face).observe(event.seconds)
            self._waits.labels(lock, face, outcome).inc()
            return
        self._hold.labels(lock, face).observe(event.seconds)
        if outcome == "lost":
            self._lost.labels(lock, face).inc()
