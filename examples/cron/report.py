"""The job itself. It knows nothing of locks, but it knows whether its work is done.

A lock keeps two from working at the same time; it does not keep the second from working afterwards.
Two clocks that differ by more than the job takes are enough for that, so a job that must run *once*
looks whether it has.

``backofflock run`` tells it the name of the lock and its fence, a number that grows with every
holder. A store that refuses a smaller fence than it has seen keeps out a job that was paused for so
long that another has taken over.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

RECENT = 12 * 3600.0
"""Seconds for which a report is not made again."""

name, fence = os.environ["BACKOFFLOCK_NAME"], int(os.environ["BACKOFFLOCK_FENCE"])
report = Path("report.txt")
if report.exists() and time.time() - report.stat().st_mtime < RECENT:
    print(f"{name}: the report is there already")
else:
    time.sleep(0.5)  # add up all that was sold today
    report.write_text(f"made under fence {fence}\n", encoding="utf-8")
    print(f"{name}: made the report")
