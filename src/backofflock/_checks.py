"""Validation of what users pass in, each rule in one place.

Every function takes the name of the field first and returns the value in the one form the rest of
the package works with: seconds as ``float``, counts as ``int``. Wrong types raise ``TypeError``,
wrong values ``ValueError``, and the text says what was given and what is allowed.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import cast

__all__ = ["Duration", "Span", "attempts_limit", "duration", "limit", "number", "span"]

Duration = float | timedelta
"""A length of time: seconds as ``int`` or ``float``, or a ``timedelta``."""

Span = Duration | tuple[Duration, Duration]
"""A duration, or ``(low, high)`` from which one is drawn once per acquisition."""


def _finite(field: str, value: object, allowed: str) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{field} must be {allowed}, not {value!r}")
    try:
        as_float = float(value)
    except OverflowError:  # an int beyond the range of floats
        as_float = math.inf
    if not math.isfinite(as_float):
        raise ValueError(f"{field} must be {allowed}, not {_shown(value)}")
    return as_float


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python does not print ints of more than some thousand digits
        return "an int too large to print"


def duration(field: str, value: object) -> float:
    """Return `value` as seconds: finite and not negative."""
    allowed = "a finite number of seconds >= 0, or a timedelta"
    seconds = _finite(field, value, allowed)
    if seconds < 0:
        raise ValueError(f"{field} must be {allowed}, not {value!r}")
    return seconds


def limit(field: str, value: object) -> float | None:
    """Return a time limit in seconds, or ``None`` for none."""
    if value is None:
        return None
    try:
        return duration(field, value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} (None means no limit)") from None


def span(field: str, value: object) -> float | tuple[float, float]:
    """Return a duration, or a ``(low, high)`` pair of them with ``low <= high``."""
    if not isinstance(value, tuple | list):
        return duration(field, value)
    pair = cast("tuple[object, ...]", value)
    if len(pair) != 2:
        raise ValueError(f"{field} must be seconds or a pair (low, high) of them, not {value!r}")
    low, high = duration(f"{field}[0]", pair[0]), duration(f"{field}[1]", pair[1])
    if low > high:
        raise ValueError(f"{field} must be (low, high) with low <= high, not {value!r}")
    return (low, high)


def number(field: str, value: object, low: float, high: float = math.inf) -> float:
    """Return `value` as a finite float within ``[low, high]``; a timedelta is refused."""
    allowed = f"a finite number >= {low:g}" if high == math.inf else f"within {low:g} to {high:g}"
    if isinstance(value, timedelta):
        raise TypeError(f"{field} must be {allowed}, not {value!r}")
    result = _finite(field, value, allowed)
    if not low <= result <= high:
        raise ValueError(f"{field} must be {allowed}, not {value!r}")
    return result


def attempts_limit(field: str, value: object) -> int | None:
    """Return a number of tries >= 1, or ``None`` for no limit."""
    if value is None:
        return None
    allowed = "a whole number of tries >= 1 (None means no limit)"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{field} must be {allowed}, not {value!r}")
    if value < 1:
        raise ValueError(f"{field} must be {allowed}, not {value!r}")
    return value
