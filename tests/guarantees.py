"""``python -m tests.guarantees [PROOF ...]``: run the proofs and write what they print to the page.

The page is docs/guarantees.md; what a proof printed stands between its two markers.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["PAGE", "PROOFS", "block", "main", "replaced"]

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "guarantees.md"

PROOFS = {
    "exhaustive": ["tests.exhaustive", "--exhaustive"],
    "preemption": ["tests.preemption"],
    "mutants": ["tests.mutants"],
    "soak": ["tests.soak", "--minutes", "5", "--seed", "1"],
}
"""The commands, by the name of the proof."""


def markers(proof: str) -> tuple[str, str]:
    """Return what stands before and after the figures of a proof."""
    return f"<!-- begin: {proof} -->\n", f"<!-- end: {proof} -->"


def block(page: str, proof: str) -> str:
    """Return what the page says of a proof."""
    begin, end = markers(proof)
    return page.partition(begin)[2].partition(end)[0]


def replaced(page: str, proof: str, figures: str) -> str:
    """Return the page with the figures of a proof replaced."""
    begin, end = markers(proof)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{PAGE.name} has no markers for {proof}")
    return f"{before}{begin}{figures}{end}{after}"


def _figures(command: list[str], printed: str) -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    told = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    return (
        f"`python -m {' '.join(command)}` on {datetime.now(UTC):%Y-%m-%d}, {python}:\n\n"
        f"```text\n{told}\n```\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 if a proof failed, and the page is left then."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.guarantees",
        description=f"Run the proofs and write what they print into {PAGE.relative_to(ROOT)}.",
        epilog="example: python -m tests.guarantees mutants soak",
    )
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help=f"of {', '.join(PROOFS)}; all")
    chosen = parser.parse_args(arguments).proofs or list(PROOFS)
    for proof in chosen:
        if proof not in PROOFS:
            parser.error(f"there is no proof {proof!r}; the proofs are {', '.join(PROOFS)}")
    status = 0
    for proof in chosen:
        command = PROOFS[proof]
        print(f"python -m {' '.join(command)}", flush=True)
        result = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        if result.returncode:
            print(f"{result.stdout}{proof} failed with status {result.returncode}", file=sys.stderr)
            status = 1
            continue
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(replaced(page, proof, _figures(command, result.stdout)), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
