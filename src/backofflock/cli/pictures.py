"""What the commands' pictures have in common: how they look, and that matplotlib is there."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from .settings import BadValue

__all__ = ["STYLE", "metadata_for", "need_matplotlib"]

STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "figure.dpi": 130,
    "svg.hashsalt": "backofflock",  # the same picture is the same file
}


def need_matplotlib(sentence: str) -> None:
    """Raise `BadValue` with `sentence`, and what to install, if matplotlib is missing."""
    try:
        import_module("matplotlib")
    except ModuleNotFoundError as missing:
        if missing.name != "matplotlib":
            raise
        raise BadValue(sentence) from None


def metadata_for(path: Path) -> Any:
    """Return what keeps a picture from saying when and by what it was made."""
    return {"Date": None} if path.suffix.lower() == ".svg" else {"Software": None}
