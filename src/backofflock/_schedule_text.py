"""Schedules as text, for command lines and settings: ``exponential:initial=0.05,cap=2``.

::

    schedule = step { " then " step }
    step     = ( name | "(" schedule ")" ) [ ":" field { "," field } ]
    field    = name "=" value                 e.g. cap=2, cap=none, initial=0..1, take=5
    value    = number | "none" | low ".." high | "(" number { "," number } ")"

The names are those of the classes in lower case, the fields theirs, in any order. ``take=n`` is
`Schedule.take` of the step, ``then`` is `Schedule.then`. A range may be written as the pair that it
is in Python. What is printed says `initial` and `cap` always and other fields where they are not
the default; parsed again, it is the same schedule. Users reach it by
`Schedule.parse` and ``str``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, NoReturn, TypeAlias

from .schedules import (
    Constant,
    Decorrelated,
    Exponential,
    Fibonacci,
    Linear,
    Polynomial,
    Quadratic,
    Schedule,
    Sequence,
    Spin,
    _Take,
    _Then,
)

__all__ = ["FAMILIES", "parse", "text_of"]

_KINDS: tuple[type[Schedule], ...] = (
    Spin,
    Constant,
    Linear,
    Quadratic,
    Polynomial,
    Exponential,
    Fibonacci,
    Decorrelated,
    Sequence,
)

FAMILIES = MappingProxyType({kind.__name__.lower(): kind for kind in _KINDS})
"""The schedules that have a name in text."""

Value: TypeAlias = float | tuple[float, ...] | None

_TAKE = "take"
_NAME = re.compile(r"[^\s:,=()]+")
_VALUE = re.compile(r"\([^()]*\)|[^\s,()]+")


def text_of(schedule: Schedule) -> str:
    """Return the text that `parse` makes the same schedule of.

    Raises TypeError for a kind of schedule that is none of this package: it has no text.

    >>> text_of(Exponential(0.05, cap=2.0))
    'exponential:initial=0.05,cap=2'
    >>> text_of(Spin().take(3).then(Linear((0.0, 1.0))))
    'spin:take=3 then linear:initial=0..1'
    """
    if isinstance(schedule, _Then):
        second = text_of(schedule.second)
        if isinstance(schedule.second, _Then):
            second = f"({second})"
        return f"{text_of(schedule.first)} then {second}"
    if not isinstance(schedule, _Take):
        name, shown = _parts(schedule)
    elif isinstance(schedule.schedule, _Then | _Take):
        name, shown = f"({text_of(schedule.schedule)})", [f"{_TAKE}={schedule.n}"]
    else:
        name, shown = _parts(schedule.schedule)
        shown.append(f"{_TAKE}={schedule.n}")
    return f"{name}:{','.join(shown)}" if shown else name


def _parts(schedule: Schedule) -> tuple[str, list[str]]:
    """Return the name and the fields of one of the families."""
    kind = type(schedule)
    name = kind.__name__.lower()
    if FAMILIES.get(name) is not kind:
        raise TypeError(f"{schedule!r} has no text: it is none of {', '.join(FAMILIES)}")
    values = {field: getattr(schedule, field.name) for field in _fields(kind)}
    return name, [
        f"{field.name}={_value_text(field.name, value)}"
        for field, value in values.items()
        if value != field.default or (field.name in ("initial", "cap") and value is not None)
    ]


def _fields(kind: Any) -> tuple[Field[Any], ...]:
    return fields(kind)


def _value_text(field: str, value: Value) -> str:
    if value is None:
        return "none"
    if not isinstance(value, tuple):
        return _number_text(value)
    numbers = [_number_text(number) for number in value]
    return "..".join(numbers) if field == "initial" else f"({','.join(numbers)})"


def _number_text(number: float) -> str:
    return repr(number).removesuffix(".0")


def parse(text: str) -> Schedule:
    """Return the schedule of a text; this module says how it is written.

    Raises ValueError for a text that is none; it says what is wrong and what could stand there.

    >>> parse("exponential:initial=0.05,cap=2")
    Exponential(initial=0.05, cap=2.0, jitter=1.0, factor=2.0)
    >>> parse("spin:take=3 then linear:initial=(0,1)")
    Spin().take(3).then(Linear(initial=(0.0, 1.0), cap=None, jitter=0.0))
    >>> parse("liner:initial=0.3")
    Traceback (most recent call last):
    ...
    ValueError: schedule 'liner:initial=0.3': there is no 'liner' (did you mean 'linear'?); there \
are spin, constant, linear, quadratic, polynomial, exponential, fibonacci, decorrelated, sequence
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str such as 'linear:initial=0.1', not {text!r}")
    try:
        return _Reader(text).read()
    except RecursionError:
        raise ValueError(f"schedule {text[:40]!r}...: too many brackets in brackets") from None


class _Reader:
    """Reads one text, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> Schedule:
        schedule = self._schedule()
        if self._at < len(self._text):
            rest = self._text[self._at :]
            self._refuse(f"only ' then ' and another schedule may follow, not {rest!r}")
        return schedule

    def _schedule(self) -> Schedule:
        schedule = self._step()
        while self._match(re.compile(r"then(?=[\s(])")):
            schedule = schedule.then(self._step())
        return schedule

    def _step(self) -> Schedule:
        if self._accept("("):
            inner = self._schedule()
            if not self._accept(")"):
                self._refuse("a bracket is not closed")
            values = self._values("a schedule in brackets", (_TAKE,))
            return self._taken(inner, values)
        name = self._match(_NAME)
        kind = FAMILIES.get(name.lower())
        if kind is None:
            said = f"there is no {name!r}" if name else "the name of a schedule is missing"
            self._refuse(f"{said}{_nearest(name, FAMILIES)}; there are {', '.join(FAMILIES)}")
        return self._family(kind)

    def _family(self, kind: Any) -> Schedule:
        name = kind.__name__.lower()
        known = {field.name: field for field in _fields(kind)}
        values = self._values(name, (*known, _TAKE))
        for field in known.values():
            if field.default is MISSING and field.name not in values:
                self._refuse(f"{name} needs {field.name}, as in {name}:{field.name}=0.1")
        given = {key: self._value(key, raw) for key, raw in values.items() if key != _TAKE}
        try:
            schedule: Schedule = kind(**given)
        except (TypeError, ValueError) as error:
            self._refuse(f"{name}: {error}", error)
        return self._taken(schedule, values)

    def _taken(self, schedule: Schedule, values: dict[str, str]) -> Schedule:
        if _TAKE not in values:
            return schedule
        try:
            return schedule.take(int(values[_TAKE]))
        except ValueError as error:
            allowed = f"a whole number of delays from 0 to {sys.maxsize}"
            self._refuse(f"take must be {allowed}, not {values[_TAKE]!r}", error)

    def _values(self, name: str, known: Iterable[str]) -> dict[str, str]:
        """Read the fields of a step: each name, and the text of its value."""
        values: dict[str, str] = {}
        if not self._accept(":"):
            return values
        while True:
            field = self._match(_NAME).lower()
            if field not in known:
                said = f"no field {field!r}" if field else "a field without a name"
                listed = ", ".join(known)
                self._refuse(f"{name} has {said}{_nearest(field, known)}; it may have {listed}")
            if not self._accept("=") or not (value := self._match(_VALUE)):
                self._refuse(f"{field} has no value; write it as {field}=...")
            if field in values:
                self._refuse(f"{field} is given twice")
            values[field] = value
            if not self._accept(","):
                return values

    def _value(self, field: str, raw: str) -> Value:
        if raw.lower() == "none":
            return None
        try:
            if raw.startswith("("):
                inside = raw[1:-1].strip().removesuffix(",")
                return tuple(float(part) for part in inside.split(",")) if inside else ()
            if field == "initial" and ".." in raw:
                low, _, high = raw.partition("..")
                return float(low), float(high)
            return (float(raw),) if field == "seconds" else float(raw)
        except ValueError as error:
            allowed = "a number such as 0.5"
            if field == "initial":
                allowed += ", or a range such as 0..1"
            elif field == "seconds":
                allowed += ", or a list such as (0.1,0.5)"
            self._refuse(f"{field} must be {allowed}, not {raw!r}", error)

    def _accept(self, sign: str) -> bool:
        return bool(self._match(re.compile(re.escape(sign))))

    def _match(self, pattern: re.Pattern[str]) -> str:
        """Return what stands here if it is such a thing, else nothing; step over it and blanks."""
        self._skip_blanks()
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        self._skip_blanks()
        return found[0]

    def _skip_blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _refuse(self, sentence: str, cause: Exception | None = None) -> NoReturn:
        raise ValueError(f"schedule {self._text!r}: {sentence}") from cause


def _nearest(name: str, known: Iterable[str]) -> str:
    name = name.lower()
    near = [word for word in known if name and word.startswith(name)]
    near = near or get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
