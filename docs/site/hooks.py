"""What the site needs beyond Markdown: links that leave it, and text that is made elsewhere.

- A link to a file of the source tree works for whoever reads a page there; on the site it becomes
  the file's path. Pictures outside of ``docs/`` come along.
- ``<!-- help: run -->`` becomes what ``backofflock run --help`` prints.
- ``<!-- readme -->`` becomes the README.
- ``<!-- bars: benchmarks -->`` becomes the bars of ``benchmarks/RESULTS.md``, and ``<!-- results:
  waiters/1000: rounds -->`` the columns of that name in its table of that heading.
"""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>(?!https?:|#)[^)\s]+)\)")
HELP = re.compile(r"<!-- help: ?(.*?) ?-->")
BARS = re.compile(r"<!-- bars: (\S+) -->")
README = "<!-- readme -->"
RESULTS = re.compile(r"<!-- results: (\S+): (.*?) -->")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with its links and its made text in place."""
    markdown = HELP.sub(lambda found: _help(*found[1].split()), markdown)
    markdown = RESULTS.sub(lambda found: _table(found[1], found[2].split(", ")), markdown)
    markdown = BARS.sub(lambda found: _results("## Bars", found[1]), markdown)
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))
    if README in markdown:
        markdown, folder = (ROOT / "README.md").read_text(encoding="utf-8"), "."
    return LINK.sub(lambda link: _on_the_site(link, folder, files, config), markdown)


def _on_the_site(link: re.Match[str], folder: str, files: Files, config: MkDocsConfig) -> str:
    """Return `link`, of a text in `folder` of the source tree, as it has to be on the site."""
    path, mark, anchor = link["target"].partition("#")
    target = posixpath.normpath(posixpath.join(folder, path))
    if target == "README.md":
        target = "docs/index.md"
    if target.startswith("docs/"):
        place = posixpath.relpath(target, "docs" if folder == "." else folder)
        return f"{link['image']}[{link['text']}]({place}{mark}{anchor})"
    source = ROOT / target
    if not source.exists():
        raise PluginError(f"{folder}: {link[0]} leads nowhere")
    if not link["image"]:
        return f"`{target}`" if source.stem in link["text"] else f"{link['text']} (`{target}`)"
    place = f"pictures/{source.name}"
    if files.get_file_from_path(place) is None:
        files.append(File.generated(config, place, abs_src_path=str(source)))
    here = posixpath.dirname(folder.removeprefix("docs").removeprefix("/") + "/") or "."
    return f"![{link['text']}]({posixpath.relpath(place, here)})"


def _help(*command: str) -> str:
    words = [*command, "--help"]
    env = {**os.environ, "COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "backofflock", *words],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return f"```text\n$ backofflock {' '.join(words)}\n{result.stdout.strip()}\n```"


def _results(heading: str, folder: str = "benchmarks") -> str:
    """Return what stands under a heading of the results, up to the next of its kind."""
    text = (ROOT / folder / "RESULTS.md").read_text(encoding="utf-8")
    found = text.partition(f"\n{heading}\n")[2].partition(f"\n{heading.split()[0]} ")[0]
    if not found:
        raise PluginError(f"{folder}/RESULTS.md has no '{heading}'")
    return found.strip()


def _table(workload: str, columns: list[str]) -> str:
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in _results(f"### {workload}").splitlines()
        if line.startswith("|")
    ]
    wanted = [rows[0].index(column) for column in ("peer", *columns)]
    return "\n".join(f"| {' | '.join(row[place] for place in wanted)} |" for row in rows)
