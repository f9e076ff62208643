"""``python -m tests.exhaustive``: visit all interleavings, and say how many there were."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from .cases import CASES
from .search import Found, Visited, search

__all__ = ["main"]

EXAMPLES = """examples:
  python -m tests.exhaustive
  python -m tests.exhaustive --exhaustive --json figures.json
  python -m tests.exhaustive --only "two threads"
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 after a violation."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.exhaustive",
        description="Visit every interleaving of small worlds, and check what must always hold.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--exhaustive", action="store_true", help="the large set, not the small")
    parser.add_argument("--only", metavar="NAME", help="only the world of this name")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there")
    options = parser.parse_args(arguments)
    cases = [
        case
        for case in CASES
        if (options.exhaustive or case.first or options.only) and options.only in {None, case.name}
    ]
    if not cases:
        names = ", ".join(repr(case.name) for case in CASES)
        parser.error(f"there is no world {options.only!r}; the worlds are {names}")
    print(f"{'world':<40} {'states':>9} {'histories':>10} {'events':>11} {'longest':>8} {'s':>6}")
    figures: list[dict[str, object]] = []
    try:
        for case in cases:
            began = time.perf_counter()
            visited = search(case, tell=_tell if sys.stderr.isatty() else None)
            seconds = time.perf_counter() - began
            print(
                f"{case.name:<40} {visited.states:>9,} {visited.histories:>10,} "
                f"{visited.events:>11,} {visited.longest:>8} {seconds:>6.1f}",
                flush=True,
            )
            figures.append({**asdict(visited), "case": case.name, "seconds": round(seconds, 1)})
    except Found as found:
        print(found, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    totals = [sum(int(str(f[key])) for f in figures) for key in ("states", "histories", "events")]
    print(f"{'all':<40} {totals[0]:>9,} {totals[1]:>10,} {totals[2]:>11,}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def _tell(visited: Visited) -> None:
    print(f"\r{visited.case.name}: {visited.states:,} states", end="\r", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
