"""What the samples of a run have measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Sample", "Values", "values_of"]

Values = dict[tuple[str, str, str], dict[int, float]]
"""Figures by cell, peer and metric, and then by round."""


@dataclass
class Sample:
    """One sample that was taken: figures by the name of the metric, or why there are none."""

    round: int
    cell: str
    peer: str
    mode: str
    figures: dict[str, float] = field(default_factory=dict)
    quantiles: list[float] = field(default_factory=list)
    failure: str | None = None

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def values_of(samples: Sequence[Sample]) -> Values:
    """Return the figures of all samples by cell, peer and metric, then by round."""
    values: Values = defaultdict(dict)
    for sample in samples:
        for metric, value in sample.figures.items():
            values[sample.cell, sample.peer, metric][sample.round] = value
    return values
