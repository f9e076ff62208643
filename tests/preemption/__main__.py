"""The command: play every plan of every scenario, and say how many there were."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from .scenarios import SCENARIOS
from .scheduler import Stage
from .search import Found, Tally, perform, search


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.preemption",
        description="Play the thread face under every preemption.",
    )
    parser.add_argument(
        "--exhaustive", action="store_true", help="up to 3 preemptions instead of 2"
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        choices=SCENARIOS,
        help=f"this scenario only; may be repeated: {', '.join(SCENARIOS)}",
    )
    parser.add_argument(
        "--replay",
        metavar="NAME:POINTS",
        help="play one plan, on the Python that found it, and show its steps",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the tallies to a file")
    given = parser.parse_args(arguments)
    if given.replay is not None:
        return replay(parser, given.replay)
    return play_all(given.only or list(SCENARIOS), 3 if given.exhaustive else 2, given.json)


def play_all(names: list[str], bound: int, file: Path | None) -> int:
    """Search the scenarios and print a line for each."""
    progress = show_progress if sys.stderr.isatty() else None
    tallies: list[Tally] = []
    began = time.perf_counter()
    print(f"{'scenario':24}{'points':>8}{'plans with 0 to ' + str(bound) + ' preemptions':>40}")
    with Stage() as stage:
        for name in names:
            tally = search(stage, SCENARIOS[name], bound, progress=progress)
            if progress is not None:
                sys.stderr.write("\r\x1b[K")
            tallies.append(tally)
            counts = " + ".join(str(tally.plays[number]) for number in range(bound + 1))
            print(
                f"{name:24}{tally.points:8}{counts + ' = ' + str(tally.total):>40}"
                f"{tally.seconds:9.2f} s",
                flush=True,
            )
            for found in tally.found:
                report(found)
    total = sum(tally.total for tally in tallies)
    broken = sum(bool(tally.found) for tally in tallies)
    print(
        f"{total} plans of {len(tallies)} scenarios in {time.perf_counter() - began:.1f} s, "
        f"{broken} broke a promise"
    )
    if file is not None:
        text = json.dumps(
            {"bound": bound, "scenarios": [tally.as_json() for tally in tallies]}, indent=2
        )
        file.write_text(text + "\n", encoding="utf-8")
    return 1 if broken else 0


def show_progress(tally: Tally) -> None:
    """Write a line that the next one overwrites."""
    sys.stderr.write(f"\r\x1b[K{tally.scenario}: {tally.total} plans")
    sys.stderr.flush()


def report(found: Found) -> None:
    """Print a broken promise, and how to see it again."""
    for complaint in found.complaints:
        print(f"  BROKEN: {complaint}")
    print(f'  python -m tests.preemption --replay "{found.replay}"', flush=True)


def replay(parser: argparse.ArgumentParser, text: str) -> int:
    """Play one plan, and print its steps in one column for each thread."""
    name, _, points = text.partition(":")
    if name not in SCENARIOS:
        parser.error(f"--replay: no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    try:
        plan = tuple(int(point) for point in points.split(",") if point)
    except ValueError:
        parser.error(f"--replay: the points must be numbers such as 12,40, not {points!r}")
    with Stage() as stage:
        run = perform(stage, SCENARIOS[name], plan)
    for number, (player, place, writes) in enumerate(run.steps):
        mark = "x" if number in run.plan else " "
        print(f"{number:5} {mark} {' ' * 32 * player}{'writes' if writes else 'reads'} {place}")
    print(f"it went: {', '.join(run.outcome)}")
    for complaint in run.complaints:
        print(f"  BROKEN: {complaint}")
    return 1 if run.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
