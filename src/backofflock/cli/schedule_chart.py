"""Curves as a picture, by matplotlib, which is the extra ``plot``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .curves import NOTHING, Band, Curve
from .pictures import STYLE, metadata_for, need_matplotlib, picture_format
from .schedule_table import told
from .settings import BadValue

__all__ = ["check", "write"]

# Told apart by eyes of every kind: Okabe and Ito, "Color Universal Design", 2008.
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#8c6d00",
)
_MARKERS = "osD^vP*h"


def check(path: Path) -> str:
    """Return the format of a picture that can be drawn, or raise `BadValue`."""
    kind = picture_format("--output", path)
    need_matplotlib(
        '--output needs matplotlib, which is not installed: pip install "backofflock[plot]"'
    )
    return kind


def write(path: Path, curves: Sequence[Curve], *, log: bool) -> None:
    """Draw delays and waits beside each other; the same curves make the same file."""
    # Its own types are incomplete.
    mpl: Any = import_module("matplotlib")
    new_figure: Any = import_module("matplotlib.figure").Figure
    kind = check(path)
    picture = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure = new_figure(figsize=(11.0, 4.6 + 0.22 * len(curves)), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw(left, curves, [curve.delays for curve in curves], log=log)
        left.set_title("Delay before retry k")
        left.set_ylabel("seconds")
        _draw(right, curves, [curve.waits for curve in curves], log=log)
        right.set_title("Slept in all when retry k is made")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", frameon=False)
        figure.savefig(picture, format=kind, metadata=metadata_for(path))
    try:
        path.write_bytes(picture.getvalue())
    except OSError as error:
        raise BadValue(f"--output: cannot write {str(path)!r}: {error.strerror or error}") from None


def _draw(
    axes: Any, curves: Sequence[Curve], bands: Sequence[Sequence[Band]], *, log: bool
) -> None:
    from matplotlib.ticker import MaxNLocator

    for number, (curve, band) in enumerate(zip(curves, bands, strict=True)):
        colour, retries = _COLOURS[number], range(len(band))
        middle = [times.p50 for times in band]
        label = told(curve) + (": median, 5 % to 95 %" if curve.random else "")
        marker = _MARKERS[number] if len(band) <= 30 else ""
        axes.plot(retries, middle, color=colour, marker=marker, markersize=4, label=label)
        if curve.random:
            low, high = [times.p5 for times in band], [times.p95 for times in band]
            axes.fill_between(retries, low, high, color=colour, alpha=0.18, linewidth=0)
        if band and curve.ends_here:
            axes.plot(retries[-1:], middle[-1:], color=colour, marker="x", markersize=11, mew=2)
    axes.set_xlabel("retry k")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    positive = [time for band in bands for times in band for time in times if time >= NOTHING]
    if log and positive:
        axes.set_yscale("symlog", linthresh=min(positive))  # 0 has a place below the powers
    axes.set_ylim(bottom=0.0)
