"""``python -m benchmarks``: the command line. It needs what the extra ``bench`` brings."""

from __future__ import annotations

import sys
from collections.abc import Callable

__all__ = ["guarded", "main"]


def guarded(run: Callable[[], int]) -> int:
    """Return the exit status of a run; a package that is missing is said in one sentence."""
    try:
        return run()
    except ModuleNotFoundError as missing:
        if missing.name not in {"typer", "rich", "matplotlib"}:
            raise
        print(
            f"benchmarks: this needs {missing.name}, which is not installed: "
            'pip install ".[bench]"',
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130


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
