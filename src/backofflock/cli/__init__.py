"""The command line: ``demo``, ``run``, ``schedule``, ``simulate``. It needs the extra ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line with `args`, ``sys.argv[1:]`` by default, and return its exit status.

    0 is success, 1 a failed demonstration, 2 a bad argument or a missing extra, 130 Ctrl-C;
    ``backofflock run`` exits with the status of its command.
    """
    try:
        from .app import run

        return run(args)
    except ModuleNotFoundError as missing:
        if missing.name not in {"typer", "rich"}:
            raise
        print(
            f"backofflock: the command line needs {missing.name}, which is not installed: "
            'pip install "backofflock[cli]"',
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
