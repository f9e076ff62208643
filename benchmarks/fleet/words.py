"""The metrics that there is room for on the screen."""

from __future__ import annotations

__all__ = ["SHORT"]

SHORT = (
    "entry",
    "throughput",
    "occupied",
    "p50",
    "p99",
    "longest",
    "jain",
    "cpu",
    "requests",
    "commands",
    "server cpu",
    "drain",
)
"""The metrics a cell may have."""
