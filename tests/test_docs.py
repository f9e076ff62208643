"""The pages under docs/: their links lead somewhere, and their figures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .guarantees import PAGE, PROOFS, block, main, replaced
from .snippets import Snippet, assert_it_prints_what_is_shown, snippets

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    inside = [link for link in links if not link.startswith("https://")]
    assert inside or page.name == "index.md"  # which is the README
    for link in inside:
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize(
    "snippet",
    [
        pytest.param(snippet, id=f"{page.stem}: {snippet.heading}")
        for page in PAGES
        for snippet in snippets(page.read_text(encoding="utf-8"))
        if snippet.language == "python" and snippet.shown
    ],
)
def test_each_snippet_prints_what_is_shown(snippet: Snippet, tmp_path: Path) -> None:
    assert_it_prints_what_is_shown(snippet, tmp_path)


def test_every_picture_is_made_by_a_command_on_its_page() -> None:
    shown, made = set(), set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        shown |= set(re.findall(r"\]\((pictures/[\w-]+\.svg)\)", text))
        made |= set(re.findall(r"(?:--gantt|--output) (pictures/\S+)$", text, re.MULTILINE))
    assert shown == made
    assert {f"pictures/{path.name}" for path in (DOCS / "pictures").iterdir()} == shown


def test_every_promise_names_a_test_that_holds_it() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Promises")[2].partition("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| ") and "Promised" not in row]
    assert len(rows) >= 10
    for row in rows:
        promised, not_promised, held = row.strip("| ").split(" | ")
        assert promised
        assert not_promised
        assert "](../tests/" in held, row


@pytest.mark.parametrize("proof", PROOFS)
def test_the_figures_of_every_proof_are_on_the_page(proof: str) -> None:
    figures = block(PAGE.read_text(encoding="utf-8"), proof)
    assert figures.startswith(f"`python -m {' '.join(PROOFS[proof])}` on 20")
    assert figures.count("\n") > 5


def test_figures_are_replaced_between_their_markers_only() -> None:
    page = "a\n<!-- begin: soak -->\nold\n<!-- end: soak -->\nb\n"
    new = replaced(page, "soak", "new\n")
    assert new == "a\n<!-- begin: soak -->\nnew\n<!-- end: soak -->\nb\n"
    assert block(new, "soak") == "new\n"
    with pytest.raises(ValueError, match="no markers for mutants"):
        replaced(page, "mutants", "new\n")


def test_a_proof_that_does_not_exist_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["luck"])
    assert "there is no proof 'luck'; the proofs are exhaustive" in capsys.readouterr().err
