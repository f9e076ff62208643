"""Samples that are long enough to show something, on a machine that does other things as well."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.workloads import Result

__all__ = ["long_enough"]

LONGEST = 16.0
"""Seconds after which a sample that shows too little is returned as it is."""


def long_enough(take: Callable[[float], Result], first: float, enough: int = 1) -> Result:
    """Return a sample of `first` seconds, or of twice that and so on, with `enough` acquisitions.

    A machine may stand still for the whole of a short sample. A peer that does not serve is found
    out all the same: its longest sample shows it.
    """
    seconds = first
    while (result := take(seconds)).figures["throughput"] * seconds < enough and seconds < LONGEST:
        seconds *= 2
    return result
