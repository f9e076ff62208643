"""What holds for every contract test: it leaves no thread behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    latest = time.monotonic() + 5.0
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < latest, f"still running: {left}"
        time.sleep(0.001)
