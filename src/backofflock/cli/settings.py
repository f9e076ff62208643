"""What a demonstration is run with."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BadValue", "Settings"]

_MOST_CONTENDERS = 1000
_MOST_ROUNDS = 100_000
_LONGEST = 3600.0


class BadValue(ValueError):
    """A value of an option that cannot be run; its text is the sentence for the user."""


def _count(option: str, value: int, least: int, most: int) -> None:
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
        _count("--threads", self.threads, 0, _MOST_CONTENDERS)
        _count("--tasks", self.tasks, 0, _MOST_CONTENDERS)
        if self.contenders == 0:
            raise BadValue("--threads and --tasks must not both be 0: nobody would contend")
        _count("--rounds", self.rounds, 1, _MOST_ROUNDS)
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
