"""Docstrings as Markdown, which would take ``>>>`` for a quotation: doctests get a fence."""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)


class FencedDoctests(griffe.Extension):
    """Puts a fence around each doctest; what it prints stands directly below it."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of `obj`, which griffe has just read."""
        if obj.docstring is not None:
            text = DOCTEST.sub(lambda doctest: f"```pycon\n{doctest[0]}\n```", obj.docstring.value)
            obj.docstring.value = text.replace("::\n\n    ", ":\n\n    ")
