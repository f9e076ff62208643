"""Turns: when a process leaves a lock to the others for a moment.

The others nap. To them a lock that one process takes again and again would seem taken for ever.
"""

from __future__ import annotations

__all__ = ["CEDED", "CEDED_TO_OTHERS", "REMEMBERED", "TURN", "Turns"]

TURN = 1.0
"""Seconds for which one process may take a lock again and again, before it leaves it free."""

CEDED = 0.03
"""Seconds of that moment, while no other process is known to want the lock: 3 % of the time, and
another that asks every half a second finds it within some 10 turns."""

CEDED_TO_OTHERS = 0.25
"""The same once another process was seen to have it: about what its nap takes."""

REMEMBERED = 10.0
"""Seconds for which the other process is remembered."""


class Turns:
    """The turns of one process at one lock. It has no clock: times are given to it, in seconds."""

    __slots__ = ("_began", "_others_until", "left")

    def __init__(self) -> None:
        self._began = 0.0
        self._others_until = 0.0
        self.left = 0.0
        """When the last holder of this process left."""

    def ceded(self, now: float) -> float:
        """Return the seconds for which the next holder has to leave the lock to others first.

        The next turn begins once it has: see `has_waited`. Until then this is owed.
        """
        ceded = CEDED if now >= self._others_until else CEDED_TO_OTHERS
        free = now - self.left
        if free >= ceded:
            self._began = now
        return 0.0 if now - self._began < TURN else ceded - free

    def lasts(self, now: float) -> bool:
        """Return whether the next holder need not leave the lock to others first."""
        return now - self._began < TURN

    def has_waited(self, now: float) -> None:
        """Note that the holder has the lock after a wait for others, which was no part of it."""
        self._began = now

    def met_others(self, now: float) -> None:
        """Note that another process has the lock."""
        self._others_until = now + REMEMBERED
