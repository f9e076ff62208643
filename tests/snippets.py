"""The fenced blocks of a page: the programs in it, and what they are said to print."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

__all__ = ["FENCE", "Snippet", "assert_it_prints_what_is_shown", "snippets"]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """A fenced block, the heading above it, and the output shown directly below it."""

    heading: str
    language: str
    code: str
    shown: str


def snippets(page: str) -> list[Snippet]:
    """Return all fenced blocks of a page of Markdown."""
    fences = list(FENCE.finditer(page))
    found = []
    for fence, after in zip_longest(fences, fences[1:]):
        headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page[: fence.start()]), re.MULTILINE)
        shown = ""
        if after is not None and after[1] == "text" and after.start() == fence.end() + 2:
            shown = after[2]
        found.append(Snippet(headings[-1], fence[1], fence[2], shown))
    return found


def assert_it_prints_what_is_shown(snippet: Snippet, directory: Path) -> None:
    """Run a snippet alone, in an empty directory."""
    script = directory / "snippet.py"
    script.write_text(snippet.code, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=directory,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=90,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == snippet.shown
