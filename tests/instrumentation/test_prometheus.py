"""The listener for Prometheus, in a real registry."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from backofflock import instrument
from backofflock.instrumentation.prometheus import PrometheusListener

from .events import ENDS, HELD, WAITED, contended_once

pytestmark = pytest.mark.usefixtures("nobody_else_is_told_of")

ORDERS = {"lock": "orders", "face": "BackoffLock"}
JOBS = {"lock": "jobs", "face": "DistributedLock"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_events_are_counted_and_timed(registry: CollectorRegistry) -> None:
    listener = PrometheusListener(registry)
    for event in ENDS:
        listener(event)
    value = registry.get_sample_value
    assert value("backofflock_wait_seconds_count", ORDERS) == 4
    assert value("backofflock_wait_seconds_sum", ORDERS) == pytest.approx(0.253)
    for outcome in "acquired", "timeout", "cancelled", "error":
        assert value("backofflock_waits_total", {**ORDERS, "outcome": outcome}) == 1
    assert value("backofflock_hold_seconds_count", ORDERS) == 1
    assert value("backofflock_hold_seconds_sum", ORDERS) == 0.5
    assert value("backofflock_hold_seconds_count", JOBS) == 1
    assert value("backofflock_leases_lost_total", JOBS) == 1
    assert value("backofflock_leases_lost_total", ORDERS) is None
    assert value("backofflock_wait_seconds_count", JOBS) is None


def test_no_label_has_many_values(registry: CollectorRegistry) -> None:
    listener = PrometheusListener(registry)
    for event in ENDS:
        listener(event)
    labels = {
        label
        for metric in registry.collect()
        for sample in metric.samples
        for label in sample.labels
    }
    assert labels == {"lock", "face", "outcome", "le"}
    assert b"Task-" not in generate_latest(registry)


def test_buckets_of_ones_own(registry: CollectorRegistry) -> None:
    listener = PrometheusListener(registry, buckets=(0.3, 1.0))
    listener(WAITED)
    listener(HELD)

    def bucket(kind: str, bound: str) -> float | None:
        return registry.get_sample_value(
            f"backofflock_{kind}_seconds_bucket", {**ORDERS, "le": bound}
        )

    assert [bucket("wait", bound) for bound in ("0.3", "1.0", "+Inf")] == [1, 1, 1]
    assert [bucket("hold", bound) for bound in ("0.3", "1.0", "+Inf")] == [0, 1, 1]


def test_real_events_reach_the_registry(registry: CollectorRegistry) -> None:
    with instrument(PrometheusListener(registry)):
        contended_once()
    labels = {"lock": "orders", "face": "ThreadBackoffLock"}
    value = registry.get_sample_value
    assert value("backofflock_waits_total", {**labels, "outcome": "timeout"}) == 1
    assert value("backofflock_hold_seconds_count", labels) == 1


def test_twice_in_one_registry_is_refused(registry: CollectorRegistry) -> None:
    PrometheusListener(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        PrometheusListener(registry)
    assert REGISTRY.get_sample_value("backofflock_hold_seconds_count", ORDERS) is None
