"""The fixtures of `backofflock.testing`, for pytest, which finds them by the package's entry point.

It lies outside of the package, and imports from it when a fixture is used: pytest imports this at
its start, in every project of an environment that has backofflock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from backofflock.testing import RecordedAttempts, VirtualClock


@pytest.fixture
def no_backoff() -> Iterator[None]:
    """Have all naps of all locks take 0 seconds: `backofflock.testing.no_backoff`."""
    from backofflock.testing import no_backoff

    with no_backoff():
        yield


@pytest.fixture
def recorded_attempts() -> Iterator[RecordedAttempts]:
    """Record the failed tries of all locks: `backofflock.testing.record_attempts`."""
    from backofflock.testing import record_attempts

    with record_attempts() as recorded:
        yield recorded


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """Return a clock for asyncio programs that jumps: `backofflock.testing.VirtualClock`."""
    from backofflock.testing import VirtualClock

    return VirtualClock()
