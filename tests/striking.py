"""Interrupting code at each place where a signal can."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["strike"]


def interrupt() -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


def strike(
    act: Callable[[], object],
    at: int,
    files: tuple[str, ...] = ("",),
    handler: Callable[[], object] = interrupt,
) -> bool:
    """Call a signal's handler at the `at`-th chance in `files`; return whether there was one.

    CPython looks for signals when a function begins and when a call of C returns. A profile
    function is called at these very places. A file is named by how its path ends; all, by default.
    """
    left = at

    def profile(frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal left
        if event not in ("call", "c_return") or not frame.f_code.co_filename.endswith(files):
            return
        left -= 1
        if left == 0:
            sys.setprofile(None)
            handler()

    sys.setprofile(profile)
    try:
        act()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return left <= 0
