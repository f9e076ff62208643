"""What a run has found: as a record for JSON, and as a table for people."""

from __future__ import annotations

import platform
from collections import Counter
from typing import Any

from .cast import LOOPS
from .supervisor import Run

__all__ = ["BLOCKS_PER_SECTION", "BLOCKS_TO_START", "growth", "record", "table"]

BLOCKS_TO_START, BLOCKS_PER_SECTION = 300, 0.002
"""Growth that is put down to caches and counts: so many blocks, and so many for each section."""


def record(run: Run) -> dict[str, Any]:
    """Return everything that a run has found."""
    sections: Counter[tuple[str, str, str]] = Counter()
    longest: dict[tuple[str, str, str], float] = {}
    events: Counter[str] = Counter()
    for desk in run.desks:
        # Copies: one who did not stop may still be counting.
        sections.update(dict(desk.sections))
        events.update(dict(desk.events))
        for kind, seconds in dict(desk.longest).items():
            longest[kind] = max(seconds, longest.get(kind, 0.0))
    problems = run.problems + [error for desk in run.desks for error in desk.errors]
    grown = growth(run)
    if grown is not None and grown["blocks"] > grown["allowed"]:
        problems.append(f"memory grew by {grown['blocks']} blocks; allowed are {grown['allowed']}")
    options = run.options
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "seed": options.seed,
        "threads": options.threads,
        "tasks": options.tasks,
        "programs": run.fingerprint,
        "seconds": round(run.seconds, 3),
        "interrupted": run.interrupted,
        "sections": {" ".join(kind): number for kind, number in sorted(sections.items())},
        "longest_wait": {" ".join(kind): seconds for kind, seconds in sorted(longest.items())},
        "events": dict(sorted(events.items())),
        "overlaps": len(run.overlaps),
        "lost_keys": run.lost_keys,
        "left_behind": run.left_behind,
        "growth": grown,
        "problems": run.overlaps[:5] + problems,
    }


def growth(run: Run) -> dict[str, Any] | None:
    """Return how memory grew from the end of the warm-up to the end; None without both."""
    if len(run.memory) < 2:
        return None
    first, last = run.memory[0], run.memory[-1]
    sections = last.sections - first.sections
    blocks = last.blocks - first.blocks
    resident = None
    if first.resident is not None and last.resident is not None:
        resident = last.resident - first.resident
    return {
        "sections": sections,
        "blocks": blocks,
        "allowed": int(BLOCKS_TO_START + BLOCKS_PER_SECTION * sections),
        "blocks_per_section": blocks / max(1, sections),
        "resident_bytes": resident,
    }


def table(found: dict[str, Any]) -> str:
    """Return the record as people read it."""
    loops = f"{len(LOOPS)} event loops ({', '.join(LOOPS)})"
    lines = [
        f"{found['seconds']:.1f} s on {found['python']} with seed {found['seed']}:",
        f"{found['threads']} threads, {loops} with {found['tasks']} tasks on each lock",
        "",
        f"{'lock, host, verb':36}{'sections':>12}{'longest wait':>16}",
    ]
    for kind, number in found["sections"].items():
        lines.append(f"{kind:36}{number:12,}{found['longest_wait'][kind]:14.3f} s")
    lines.append(f"{'all':36}{sum(found['sections'].values()):12,}")
    lines.append("")
    lines += [f"{what:36}{number:12,}" for what, number in found["events"].items()]
    lines.append("")
    lines.append(f"{'overlaps':36}{found['overlaps']:12,}")
    lines.append(f"{'lost keys':36}{found['lost_keys']:12,}")
    lines += [f"{what + ' left behind':36}{n:12,}" for what, n in found["left_behind"].items()]
    if found["growth"] is not None:
        grown = found["growth"]
        lines.append(
            f"{'memory growth per section':36}{grown['blocks_per_section']:12.4f} blocks "
            f"({grown['blocks']:,} in {grown['sections']:,}; allowed are {grown['allowed']:,})"
        )
        if grown["resident_bytes"] is not None:
            resident = grown["resident_bytes"] / 1024
            lines.append(f"{'growth of resident memory':36}{resident:12,.0f} KiB")
    if found["problems"]:
        lines.append("")
        lines += [f"WRONG: {problem}" for problem in found["problems"]]
    return "\n".join(lines)
