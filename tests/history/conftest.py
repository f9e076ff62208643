"""What holds for the contract tests holds here: no test leaves a thread behind."""

from __future__ import annotations

from ..contract.conftest import no_thread_is_left

__all__ = ["no_thread_is_left"]
