"""``backofflock demo``: every reference system on one real lock each, watched."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from .contest import Contest, Result
from .display import Display, JsonDisplay, PlainDisplay, shows_motion
from .live import LiveDisplay
from .settings import BadValue, Settings, read_schedule
from .systems import System, select

__all__ = ["demo", "given", "run_systems"]

_TICK = 0.1
_DEFAULTS = Settings()


def given(texts: Iterable[str]) -> tuple[System, ...]:
    """Return a system for each schedule that is given as text: a textbook's, its times as written.

    They are not scaled: who writes a schedule for his own program wants to see that one.
    """
    return tuple(
        System(
            name=f"schedule-{number}",
            form=str(schedule),
            note="as given, not scaled; every nap is slept out",
            schedule=lambda second, schedule=schedule: schedule,  # type: ignore[misc]
        )
        for number, schedule in enumerate(
            (read_schedule(text, "--schedule") for text in texts), start=1
        )
    )


@contextmanager
def _interruptions() -> Generator[threading.Event, None, None]:
    """Give an event that Ctrl-C sets; a second Ctrl-C raises KeyboardInterrupt as ever.

    So the first one is acted upon between two ticks, and not in the middle of drawing or starting.
    """
    interrupted = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    elsewhere = threading.current_thread() is not threading.main_thread()

    def note(_number: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    if elsewhere or before is not signal.default_int_handler:  # ignored, or not ours
        yield interrupted
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def run_systems(
    systems: Sequence[System],
    settings: Settings,
    display: Display,
    contest_of: Callable[[System, Settings], Contest] = Contest,
) -> int:
    """Run `systems` one after the other, shown on `display`; return the exit status."""
    results: list[Result] = []
    asleep = 0
    with _interruptions() as interrupted:
        try:
            display.begin(settings, systems)
            for number, system in enumerate(systems, start=1):
                display.start(number, system)
                with contest_of(system, settings) as contest:
                    while not (done := contest.watch(_TICK)) and not interrupted.is_set():
                        display.tick(contest)
                if not done:
                    asleep = contest.asleep()
                    break
                display.tick(contest)
                results.append(contest.result())
                display.finish(results[-1])
            display.end(results, interrupted=interrupted.is_set())
        finally:
            display.close()
    return _verdict(results, asleep, interrupted=interrupted.is_set())


def _verdict(results: Iterable[Result], asleep: int, *, interrupted: bool) -> int:
    status = 0
    for result in results:
        if result.intrusions:
            print(
                f"backofflock: the lock of {result.system.name!r} let two in at once, "
                f"{result.intrusions} times",
                file=sys.stderr,
            )
            status = 1
    if asleep:
        print(
            f"backofflock: threads left behind in naps that nothing can cut short: {asleep}",
            file=sys.stderr,
        )
    return 130 if interrupted else status


def demo(
    only: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="Run this system; may be given more than once.",
            default_factory=list,
            show_default=False,
        ),
    ],
    schedule: Annotated[
        list[str],
        typer.Option(
            metavar="SCHEDULE",
            help="Run a lock with this schedule, without --only no other; may be given more than "
            "once. Its times are not scaled.",
            default_factory=list,
            show_default=False,
        ),
    ],
    threads: Annotated[int, typer.Option(help="Contenders that are threads.")] = _DEFAULTS.threads,
    tasks: Annotated[int, typer.Option(help="Contenders that are tasks.")] = _DEFAULTS.tasks,
    rounds: Annotated[
        int, typer.Option(help="How often each takes the lock, or tries to.")
    ] = _DEFAULTS.rounds,
    hold: Annotated[
        float, typer.Option(help="Seconds it holds the lock, and rests between two rounds.")
    ] = _DEFAULTS.hold,
    scale: Annotated[
        float, typer.Option(help="Seconds that 1 s of the textbooks lasts here.")
    ] = _DEFAULTS.scale,
    seed: Annotated[int, typer.Option(help="Seed of the random delays.")] = _DEFAULTS.seed,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
    list_only: Annotated[bool, typer.Option("--list", help="List the systems and exit.")] = False,
) -> None:
    """Run every kind of lock side by side, each contended by threads and tasks at once.

    On a terminal you see who holds and who waits, elsewhere plain lines; then a table, one row per
    system: how often the lock was got and contenders gave up, attempts, waits, how long the lock
    stood free while somebody waited for it, processor time, and by how much the event loop of the
    tasks was late at the worst. The first ten rows are the locks of the textbooks, which sleep
    every nap out; the last is this library's own.

    For example:

    \b
      backofflock demo
      backofflock demo --only linear --only backofflock --threads 8
      backofflock demo --schedule constant:initial=0.05 --schedule linear:initial=0..0.1
      backofflock demo --tasks 0 --hold 0.1 --scale 1
      backofflock demo --json > demo.json

    The JSON document, times in seconds:

    \b
      version       of backofflock
      settings      threads, tasks, rounds, hold, scale, seed
      interrupted   true after Ctrl-C: only finished systems are listed
      systems       a list, each with name, form, note,
                    acquisitions, gave_up, attempts,
                    total_wait, longest_wait, free_while_waited,
                    cpu, loop_delay, elapsed,
                    other_work (units done between tries),
                    status_lines, intrusions (0 if the lock excludes)

    Exit status: 0; 1 if a lock let two in at once; 2 for a bad value; 130 after Ctrl-C.
    """  # noqa: D301 - the backspaces keep lines as they are
    settings = Settings(
        threads=threads, tasks=tasks, rounds=rounds, hold=hold, scale=scale, seed=seed
    )
    systems = given(schedule)
    if only or not systems:
        systems = (*select(only), *systems)
    if list_only and as_json:
        raise BadValue("--list and --json exclude each other: the list is for people")
    if list_only:
        for system in systems:
            print(f"{system.name:<13}{system.form:<30}{system.note}")
        return
    display: Display
    if as_json:
        display = JsonDisplay(sys.stdout)
    elif shows_motion(sys.stdout):
        display = LiveDisplay(sys.stdout)
    else:
        display = PlainDisplay(sys.stdout)
    try:
        status = run_systems(systems, settings, display)
    except KeyboardInterrupt:  # the second Ctrl-C: typer's versions differ in what they make of it
        status = 130
    raise typer.Exit(status)
