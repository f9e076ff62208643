"""``python -m tests.mutants``: try every mutant, and print which test found which fault."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import monotonic

from .catalogue import MUTANTS
from .runner import Mutant, MutantError, Verdict, check, control, try_mutant

Row = tuple[Mutant, Verdict]


def chosen(names: Sequence[str] | None) -> list[Mutant]:
    """Return the mutants of these names, all for None; MutantError for a name that is none."""
    if names is None:
        return list(MUTANTS)
    known = {mutant.name: mutant for mutant in MUTANTS}
    if unknown := [name for name in names if name not in known]:
        raise MutantError(f"no such mutant: {', '.join(unknown)}; --list shows them")
    return [known[name] for name in names]


def found_by(verdict: Verdict) -> str:
    """Return what became of a mutant, in the words of the tables."""
    if verdict.failed is None:
        return "nothing: it SURVIVED"
    return f"{verdict.failed} (timed out)" if verdict.timed_out else verdict.failed


def summary(rows: Sequence[Row]) -> str:
    """Return the outcome in a line."""
    killed = sum(verdict.killed for _, verdict in rows)
    seconds = sum(verdict.seconds for _, verdict in rows)
    return f"{killed} of {len(rows)} faults found, in {seconds:.0f} s of tests"


def plain_table(rows: Sequence[Row]) -> str:
    """Return the table for a terminal."""
    width = max((len(mutant.name) for mutant, _ in rows), default=0)
    return "\n".join(
        f"{mutant.name:{width}}  {verdict.seconds:5.1f} s  {found_by(verdict)}"
        for mutant, verdict in rows
    )


def markdown(rows: Sequence[Row], command: str) -> str:
    """Return the page with the table: what is wrong in a mutant, and the test that finds it."""

    def cells(*texts: str) -> str:
        return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"

    python = f"{platform.python_implementation()} {platform.python_version()}"
    lines = [
        "# Mutants",
        "",
        f"Written by `{command}` on {python}: {summary(rows)}.",
        "Each fault was put into a copy of the project, alone, and its tests were run there until",
        "one failed. Without a fault all these tests pass.",
        "",
        cells("fault", "in", "what is wrong then", "test that finds it", "seconds"),
        cells("---", "---", "---", "---", "---:"),
    ]
    for mutant, verdict in rows:
        test = found_by(verdict)
        if verdict.failed is not None:
            test = test.replace(verdict.failed, f"`{verdict.failed}`")
        lines.append(
            cells(mutant.name, f"`{mutant.file}`", mutant.fault, test, f"{verdict.seconds:.1f}")
        )
    return "\n".join(lines) + "\n"


def as_json(rows: Sequence[Row]) -> str:
    """Return the same as data."""
    return json.dumps(
        [
            {
                "name": mutant.name,
                "file": mutant.file,
                "fault": mutant.fault,
                "killed": verdict.killed,
                "by": verdict.failed,
                "timed_out": verdict.timed_out,
                "seconds": round(verdict.seconds, 2),
            }
            for mutant, verdict in rows
        ],
        indent=1,
    )


def try_all(mutants: Sequence[Mutant]) -> list[Row]:
    """Try mutant after mutant, and say how far it is; if one does not fit, none is tried."""
    check(mutants)
    passed = control(mutants)
    print(f"without a fault, {len(passed.passed)} tests pass ({passed.seconds:.1f} s)", flush=True)
    rows: list[Row] = []
    for number, mutant in enumerate(mutants, 1):
        verdict = try_mutant(mutant)
        rows.append((mutant, verdict))
        outcome = "timed out" if verdict.timed_out else "found" if verdict.killed else "SURVIVED"
        print(
            f"{number:3}/{len(mutants)}  {verdict.seconds:5.1f} s  {outcome}: {mutant.name}",
            flush=True,
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if all were found, 1 if one survived, 2 if one could not be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="try these, and no others")
    parser.add_argument("--list", action="store_true", help="name the faults, and try none")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="write the table here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes here")
    options = parser.parse_args(arguments)
    try:
        mutants = chosen(options.only)
        if options.list:
            print(listed(mutants))
            return 0
        began = monotonic()
        rows = try_all(mutants)
    except MutantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"\n{plain_table(rows)}\n\n{summary(rows)} ({monotonic() - began:.0f} s in all)")
    if options.output is not None:
        command = " ".join([parser.prog, *(sys.argv[1:] if arguments is None else arguments)])
        options.output.write_text(markdown(rows, command), "utf-8")
    if options.json is not None:
        options.json.write_text(as_json(rows), "utf-8")
    return 0 if all(verdict.killed for _, verdict in rows) else 1


def listed(mutants: Iterable[Mutant]) -> str:
    """Return the faults, one a line."""
    return "\n".join(f"{mutant.name}  ({mutant.file}): {mutant.fault}" for mutant in mutants)


if __name__ == "__main__":
    sys.exit(main())
