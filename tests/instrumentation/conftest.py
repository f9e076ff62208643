"""Listeners are told of the whole process: nothing of earlier tests may be left in it."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(autouse=True)
def nobody_else_is_told_of() -> None:
    """Collect the waiters that earlier tests gave up, whose end would be told in the midst."""
    gc.collect()
