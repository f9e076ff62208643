"""A backend in the memory of the tests: what the contract asks for, and nothing else."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from backofflock import Busy, Grant
from backofflock.leases import clock


@dataclass
class Hold:
    """What a name is to its holder."""

    token: str
    fence: int
    until: float


@dataclass
class Place:
    """What all backends of one place share."""

    mutex: threading.Lock = field(default_factory=threading.Lock)
    holds: dict[str, Hold] = field(default_factory=dict)
    fence: int = 0
    released: set[tuple[str, str]] = field(default_factory=set)


class MemoryBackend:
    """Keeps locks in a `Place`."""

    blocking = False

    def __init__(self, place: Place) -> None:
        self.place = place

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        with self.place.mutex:
            if (name, token) in self.place.released:
                return Busy()
            hold = self._hold(name)
            if hold is None:
                self.place.fence += 1
                hold = self.place.holds[name] = Hold(token, self.place.fence, 0.0)
            elif hold.token != token:
                return Busy()
            hold.until = clock() + ttl
            return Grant(hold.fence, ttl)

    def renew(self, name: str, token: str, ttl: float) -> bool:
        with self.place.mutex:
            hold = self._hold(name)
            if hold is None or hold.token != token:
                return False
            hold.until = clock() + ttl
            return True

    def release(self, name: str, token: str) -> bool:
        with self.place.mutex:
            self.place.released.add((name, token))
            hold = self._hold(name)
            if hold is None or hold.token != token:
                return False
            del self.place.holds[name]
            return True

    def _hold(self, name: str) -> Hold | None:
        hold = self.place.holds.get(name)
        return None if hold is None or clock() >= hold.until else hold
