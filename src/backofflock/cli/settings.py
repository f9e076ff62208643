"""What a demonstration is run with; and how any command takes a value that it cannot use."""

from __future__ import annotations

from dataclasses import dataclass

from backofflock import Schedule

__all__ = ["BadValue", "Settings", "read_schedule", "whole_number"]

_MOST_CONTENDERS = 1000
_MOST_ROUNDS = 100_000
_LONGEST = 3600.0


class BadValue(ValueError):
    """A value of an option that cannot be run; its text is the sentence for the user."""


def read_schedule(text: str, option: str = "") -> Schedule:
    """Return the schedule of a text, given for `option`; a text that is none raises `BadValue`."""
    try:
        return Schedule.parse(text)
    except ValueError as error:
        raise BadValue(f"{option}: {error}" if option else str(error)) from None


def whole_number(option: str, value: int, least: int, most: int) -> None:
    """Raise `BadValue` for a number out of its range."""
    if not least <= value <= most:
        raise BadValue(f"{option} must be a whole number from {least} to {most}, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the demo; a value that cannot be run raises `BadValue`."""

    threads: int = 3
    """Contenders that are threads."""
    tasks: int = 3
    """Contenders that are asyncio tasks, all on one event loop."""
    rounds: int = 6
    """How often each contender takes the lock, or tries to."""
    hold: float = 0.03
    """Seconds it holds the lock, and rests between two rounds."""
    scale: float = 0.15
    """What one second of the textbooks lasts here."""
    seed: int = 1
    """Seed of the random delays."""

    def __post_init__(self) -> None:
        whole_number("--threads", self.threads, 0, _MOST_CONTENDERS)
        whole_number("--tasks", self.tasks, 0, _MOST_CONTENDERS)
        if self.contenders == 0:
            raise BadValue("--threads and --tasks must not both be 0: nobody would contend")
        whole_number("--rounds", self.rounds, 1, _MOST_ROUNDS)
        if not 0.0 <= self.hold <= _LONGEST:  # NaN fails every comparison
            raise BadValue(
                f"--hold must be a number of seconds from 0 to {_LONGEST:g}, not {self.hold!r}"
            )
        if not 0.0 < self.scale <= _LONGEST:
            raise BadValue(
                f"--scale must be a number of seconds above 0, at most {_LONGEST:g}, "
                f"not {self.scale!r}"
            )

    @property
    def contenders(self) -> int:
        """How many contend for each lock."""
        return self.threads + self.tasks
