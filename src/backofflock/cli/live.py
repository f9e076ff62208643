"""The demo on a terminal: who holds, who waits how long after how many attempts, how far it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .contenders import Contender, State
from .contest import Contest, Result
from .display import Display, headline, outcome
from .settings import Settings
from .systems import System
from .table import summary

__all__ = ["LiveDisplay"]

_STYLES = {
    State.HOLDS: "bold green",
    State.WAITS: "yellow",
    State.RESTS: "dim",
    State.DONE: "dim",
}
_BY_INTEREST = list(_STYLES)
_BAR = 30
_OTHER_LINES = 8
"""Lines of the moving part that are not contenders, with one for the cursor."""


def _line(text: str, style: str = "") -> Text:
    """Return a line that is cut, not wrapped, where the terminal is narrow."""
    return Text(text, style, no_wrap=True, overflow="crop", end="")


class LiveDisplay(Display):
    """What has happened scrolls by; below it, drawn over and over, is what is going on."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, force_terminal=True, highlight=False)
        # Drawn by `tick` alone: a thread of rich's own would count as the lock's processor time.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._began = time.monotonic()
        self._rounds = 0
        self._systems = 0
        self._number = 0

    def begin(self, settings: Settings, systems: Sequence[System]) -> None:
        """Print what is run, and open the moving part."""
        self._rounds = settings.rounds
        self._systems = len(systems)
        self._began = time.monotonic()
        for line in headline(settings, systems):
            self._console.print(_line(line, "bold"))
        self._live.start()

    def start(self, number: int, system: System) -> None:
        """Remember which system it is; the next tick shows it."""
        self._number = number

    def tick(self, contest: Contest) -> None:
        """Print the status lines and draw the moving part anew."""
        if contest.lines:
            count = len(contest.lines)
            lines = [f"  {contest.lines.popleft()}" for _ in range(count)]
            self._console.print(_line("\n".join(lines), "dim"))
        self._live.update(self._picture(contest), refresh=True)

    def finish(self, result: Result) -> None:
        """Print a line that stays."""
        self._console.print(_line(f"{result.system.name:<13}{outcome(result)}"))

    def end(self, results: Sequence[Result], *, interrupted: bool) -> None:
        """Close the moving part and print the table."""
        self.close()
        if results:
            self._console.print(*summary(results, self._console))
        if interrupted:
            self._console.print(f"interrupted: {len(results)} of {self._systems} systems finished")

    def close(self) -> None:
        """Remove the moving part and show the cursor again."""
        self._live.stop()

    def _picture(self, contest: Contest) -> RenderableType:
        # Text laid out by hand and not rich's tables: they take the interpreter for some 10 ms at a
        # time, which would show in the delay of the event loop that is being measured.
        system = contest.system
        picture = Text(no_wrap=True, overflow="crop")
        picture.append(f"{system.name}: {system.form}\n", "bold")
        picture.append(f"{system.note}\n\n")
        picture.append(f"{'contender':<12}{'does':<8}{'for s':>7}{'after attempts':>16}  turns\n")
        now = time.monotonic()
        room = max(1, self._console.height - _OTHER_LINES)
        shown = contest.contenders
        if len(shown) > room:
            shown = sorted(shown, key=lambda me: _BY_INTEREST.index(me.doing.state))[:room]
        for me in shown:
            picture.append(self._row(me, now), _STYLES[me.doing.state])
        if len(contest.contenders) > len(shown):
            picture.append(f"and {len(contest.contenders) - len(shown)} more")
        return Group("", self._bar(contest), picture)

    def _bar(self, contest: Contest) -> RenderableType:
        done = self._number - 1 + contest.progress()
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(total=self._systems, completed=done, width=_BAR),
            f"{100 * done / self._systems:3.0f} %",
            f"system {self._number} of {self._systems}",
            f"{time.monotonic() - self._began:.1f} s",
        )
        return bar

    def _row(self, me: Contender, now: float) -> str:
        state, since, failed = me.doing
        lasting = f"{now - since:.2f}" if state is not State.DONE else ""
        tries = f"{failed:,}" if state in {State.HOLDS, State.WAITS} else ""
        gave_up = sum(turn.released is None for turn in list(me.turns))
        turns = f"{len(me.turns)} of {self._rounds}" + (f", {gave_up} gave up" if gave_up else "")
        return f"{me.name:<12}{state:<8}{lasting:>7}{tries:>16}  {turns}\n"
