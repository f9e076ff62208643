"""What the commands' pictures have in common: how they look, and that matplotlib is there."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from .settings import BadValue

__all__ = ["STYLE", "metadata_for", "need_matplotlib", "picture_format"]

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


def picture_format(option: str, path: Path, otherwise: str = "") -> str:
    """Return ``png`` or ``svg``, as the name of a picture asks for.

    Raises `BadValue` if it is neither, with what to write `otherwise`, or if there is no directory
    for it: before anything is computed.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise BadValue(
            f"{option} must be a file that ends in .png or .svg{otherwise}, not {str(path)!r}"
        )
    if not path.parent.is_dir():
        raise BadValue(f"{option}: there is no directory {str(path.parent)!r}")
    return kind


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
