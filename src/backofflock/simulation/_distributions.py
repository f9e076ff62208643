"""Distributions of times as text: ``0.01``, ``uniform:0..0.005``, ``exponential:0.02``.

================================  ==================================================================
``0.01``                          always the same
``uniform:0..0.005``              uniform between two times
``exponential:0.02``              exponential with this mean: now and then much longer
``normal:0.01,0.002``             mean and standard deviation; a draw below 0 counts as if above it
================================  ==================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from itertools import repeat
from random import Random
from types import MappingProxyType
from typing import NoReturn

__all__ = ["Distribution"]

_FORMS = MappingProxyType(
    {
        "fixed": "fixed:0.01",
        "uniform": "uniform:0..0.005",
        "exponential": "exponential:0.02",
        "normal": "normal:0.01,0.002",
    }
)
_LONGEST = 1e9


@dataclass(frozen=True, slots=True)
class Distribution:
    """A time that is drawn anew whenever it is needed, in seconds.

    >>> Distribution.parse("uniform:0..0.005").mean
    0.0025
    >>> str(Distribution.parse("0.010")), str(Distribution.parse("normal:0.01, 0.002"))
    ('0.01', 'normal:0.01,0.002')
    >>> draw = Distribution.parse("exponential:0.02").sampler(Random(1))
    >>> draw() != draw()
    True
    """

    kind: str
    """``fixed``, ``uniform``, ``exponential`` or ``normal``."""
    first: float
    """The time itself, the lower bound or the mean."""
    second: float = 0.0
    """The upper bound or the standard deviation."""

    @classmethod
    def fixed(cls, seconds: float) -> Distribution:
        """Return the time that is always the same."""
        return cls("fixed", seconds)

    @classmethod
    def parse(cls, text: str) -> Distribution:
        """Return the distribution of a text; this module says how it is written.

        Raises ValueError for a text that is none; it says what could stand there.

        >>> Distribution.parse("exponentail:0.02")
        Traceback (most recent call last):
        ...
        ValueError: 'exponentail:0.02' is no time: there is no 'exponentail' (did you mean \
'exponential'?); write a number of seconds such as 0.01, or uniform:0..0.005, exponential:0.02, \
normal:0.01,0.002
        """
        name, colon, rest = text.strip().partition(":")
        if not colon:
            name, rest = ("fixed", name) if re.match(r"[-+.\d]|nan|inf", name) else (name, "")
        kind = name.strip().lower()
        if kind not in _FORMS:
            near = get_close_matches(kind, _FORMS, n=1, cutoff=0.5)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            _refuse(text, f"there is no {name.strip()!r}{meant}" if kind else "it is empty")
        wanted = 2 if kind in {"uniform", "normal"} else 1
        parts = re.split(r"\.\.|,", rest) if wanted == 2 else [rest]
        try:
            values = [float(part) for part in parts]
        except ValueError:
            values = []
        if len(values) != wanted:
            _refuse(text, f"{kind} is written as {_FORMS[kind]}")
        for value in values:
            if not 0.0 <= value <= _LONGEST:  # NaN fails every comparison
                _refuse(text, f"its times must be from 0 to {_LONGEST:g} seconds")
        if kind == "uniform" and values[0] > values[1]:
            _refuse(text, "its lower bound is above the upper one")
        return cls(kind, *values)

    @property
    def mean(self) -> float:
        """The mean of the draws, in seconds."""
        if self.kind == "uniform":
            return (self.first + self.second) / 2
        if self.kind == "normal" and self.second:
            ratio = self.first / self.second
            return self.second * math.sqrt(2 / math.pi) * math.exp(
                -ratio * ratio / 2
            ) + self.first * math.erf(ratio / math.sqrt(2))
        return self.first

    def sampler(self, rng: Random) -> Callable[[], float]:
        """Return a function that draws from `rng`."""
        first, second = self.first, self.second
        if self.kind == "uniform":
            return partial(rng.uniform, first, second)
        if self.kind == "exponential" and first:
            return partial(rng.expovariate, 1.0 / first)
        if self.kind == "normal":
            gauss = rng.gauss
            return lambda: abs(gauss(first, second))
        return repeat(first).__next__

    def __str__(self) -> str:
        if self.kind == "fixed":
            return f"{self.first:g}"
        if self.kind == "uniform":
            return f"uniform:{self.first:g}..{self.second:g}"
        if self.kind == "normal":
            return f"normal:{self.first:g},{self.second:g}"
        return f"{self.kind}:{self.first:g}"


def _refuse(text: str, sentence: str) -> NoReturn:
    forms = ", ".join(form for kind, form in _FORMS.items() if kind != "fixed")
    raise ValueError(
        f"{text!r} is no time: {sentence}; write a number of seconds such as 0.01, or {forms}"
    )
