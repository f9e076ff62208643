"""What the listeners share."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from math import inf

from .._checks import Duration, limit

__all__ = ["BUCKETS", "at_least", "needing"]

BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Upper bounds of the buckets of a histogram, in seconds: from a busy lock to a hanging job."""


@contextmanager
def needing(package: str, extra: str) -> Generator[None, None, None]:
    """Import in this block what is of `package`; where it is missing, the error names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ModuleNotFoundError(
            f"backofflock.instrumentation.{extra} needs the package {package}: "
            f"pip install 'backofflock[{extra}]'",
            name=error.name,
        ) from error


def at_least(slow: Duration | None) -> float:
    """Return from how many seconds on an event that went well is of interest; None: from none."""
    seconds = limit("slow", slow)
    return inf if seconds is None else seconds
