"""A contest brought to a known state: one holds, all others wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from backofflock.cli.contenders import State
from backofflock.cli.contest import Contest
from backofflock.cli.settings import Settings
from backofflock.cli.systems import System

LIMIT = 30.0
"""Seconds after which a contest that should have moved on is stuck."""


@contextmanager
def settled(system: System, *, threads: int = 3, tasks: int = 3) -> Iterator[Contest]:
    """Give a contest in which one holds, for ever, and every other has failed at least twice."""
    settings = Settings(threads=threads, tasks=tasks, rounds=4, hold=600.0, scale=0.02)
    with Contest(system, settings) as contest:
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            doing = [me.doing for me in contest.contenders]
            waiting = [it for it in doing if it.state is State.WAITS and it.failed >= 2]
            holding = [it for it in doing if it.state is State.HOLDS]
            if len(holding) == 1 and len(waiting) == len(doing) - 1:
                yield contest
                return
            assert not contest.watch(0.005)
        raise AssertionError(f"the contest does not settle: {doing}")
