"""``python -m benchmarks.fleet``: the command line. It needs what the extra ``bench`` brings."""

from __future__ import annotations

import sys

from ..__main__ import guarded

__all__ = ["main"]


def main(args: list[str] | None = None) -> int:
    """Run the command line with `args`, ``sys.argv[1:]`` by default, and return its exit status.

    0 is success, 1 a bar that was missed, 2 a bad value or a missing package, 130 Ctrl-C.
    """

    def run_it() -> int:
        from .command import run

        return run(args)

    return guarded(run_it)


if __name__ == "__main__":
    sys.exit(main())
