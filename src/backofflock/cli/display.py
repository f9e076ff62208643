"""What the demo shows: plain lines, one JSON document, or (in `live`) a terminal that moves."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console

from backofflock import __version__

from .contenders import State
from .contest import Contest, Result
from .settings import Settings
from .systems import System
from .table import summary

__all__ = ["Display", "JsonDisplay", "PlainDisplay", "headline", "outcome", "shows_motion"]

_WIDTH = 80


class Display:
    """How one demo is shown; the methods are called in this order, `tick` ten times a second."""

    def begin(self, settings: Settings, systems: Sequence[System]) -> None:
        """Say what is about to be run."""

    def start(self, number: int, system: System) -> None:
        """Say that system `number`, from 1, is beginning."""

    def tick(self, contest: Contest) -> None:
        """Show how it goes."""

    def finish(self, result: Result) -> None:
        """Show how it went."""

    def end(self, results: Sequence[Result], *, interrupted: bool) -> None:
        """Show the results of all systems that were finished."""

    def close(self) -> None:
        """Leave the terminal as it was; after `end`, or after an error."""


def shows_motion(stream: TextIO) -> bool:
    """Return whether `stream` is a terminal on which lines can be drawn over."""
    return stream.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}


def headline(settings: Settings, systems: Sequence[System]) -> tuple[str, str]:
    """Return the two lines that say what is run."""
    contenders = f"{_counted(settings.threads, 'thread')} and {_counted(settings.tasks, 'task')}"
    rounds, scale = _counted(settings.rounds, "round"), f"{settings.scale:g}"
    systems_text = _counted(len(systems), "system")
    first = f"backofflock {__version__}: {systems_text}, one lock each, for {contenders}"
    textbooks = f"1 s of the textbooks is {scale} s here"
    return first, f"{rounds}, hold {settings.hold:g} s, {textbooks}, seed {settings.seed}"


def outcome(result: Result) -> str:
    """Return the line that says how a system did."""
    parts = [f"{_counted(result.acquisitions, 'acquisition')} in {result.elapsed:.2f} s"]
    if result.gave_up:
        parts.append(f"{result.gave_up} gave up")
    parts.append(_counted(result.attempts, "attempt"))
    if result.other_work:
        parts.append(f"other work: {result.other_work:,}")
    return ", ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class PlainDisplay(Display):
    """Lines without control characters, each written out at once, for pipes and files."""

    def __init__(self, stream: TextIO, snapshot_every: float = 1.0) -> None:
        self._stream = stream
        self._every = snapshot_every
        self._next_snapshot = 0.0
        self._systems = 0

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def begin(self, settings: Settings, systems: Sequence[System]) -> None:
        """Print what is run."""
        self._systems = len(systems)
        for line in headline(settings, systems):
            self._say(line)

    def start(self, number: int, system: System) -> None:
        """Print the system's name, lock and note."""
        self._next_snapshot = time.monotonic() + self._every
        self._say(f"[{number}/{self._systems}] {system.name}: {system.form}; {system.note}")

    def tick(self, contest: Contest) -> None:
        """Print the status lines, and once a second who holds and who waits."""
        while contest.lines:
            self._say(f"    {contest.lines.popleft()}")
        now = time.monotonic()
        if now >= self._next_snapshot and contest.progress() < 1.0:
            self._next_snapshot = now + self._every
            self._say(f"    {_snapshot(contest, now)}")

    def finish(self, result: Result) -> None:
        """Print the system's numbers in a line."""
        self._say(f"    {outcome(result)}")

    def end(self, results: Sequence[Result], *, interrupted: bool) -> None:
        """Print the table."""
        if results:
            # Its own width: that of a terminal somewhere else says nothing about this stream.
            console = Console(
                file=self._stream, force_terminal=False, color_system=None, width=_WIDTH
            )
            with console.capture() as captured:
                console.print(*summary(results, console))
            for line in captured.get().splitlines():
                self._say(line.rstrip())
        if interrupted:
            self._say(f"interrupted: {len(results)} of {self._systems} systems finished")


def _snapshot(contest: Contest, now: float) -> str:
    doing = [(me.name, me.doing) for me in contest.contenders]
    holder = next((name for name, it in doing if it.state is State.HOLDS), "nobody")
    waiting = [
        f"{name} {now - it.since:.2f} s after {it.failed}"
        for name, it in doing
        if it.state is State.WAITS
    ]
    return f"{holder} holds; waiting (failed attempts): {', '.join(waiting) or 'nobody'}"


class JsonDisplay(Display):
    """One JSON document at the end, and nothing else. Its fields are in the help of the command."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._settings = Settings()

    def begin(self, settings: Settings, systems: Sequence[System]) -> None:
        """Keep the settings for the document."""
        self._settings = settings

    def end(self, results: Sequence[Result], *, interrupted: bool) -> None:
        """Print the document."""
        settings = self._settings
        document = {
            "version": __version__,
            "settings": {
                "threads": settings.threads,
                "tasks": settings.tasks,
                "rounds": settings.rounds,
                "hold": settings.hold,
                "scale": settings.scale,
                "seed": settings.seed,
            },
            "interrupted": interrupted,
            "systems": [
                {
                    "name": result.system.name,
                    "form": result.system.form,
                    "note": result.system.note,
                    "acquisitions": result.acquisitions,
                    "gave_up": result.gave_up,
                    "attempts": result.attempts,
                    "total_wait": result.total_wait,
                    "longest_wait": result.longest_wait,
                    "free_while_waited": result.free_while_waited,
                    "cpu": result.cpu,
                    "loop_delay": result.loop_delay,
                    "elapsed": result.elapsed,
                    "other_work": result.other_work,
                    "status_lines": result.status_lines,
                    "intrusions": result.intrusions,
                }
                for result in results
            ],
        }
        print(json.dumps(document, indent=2), file=self._stream, flush=True)
