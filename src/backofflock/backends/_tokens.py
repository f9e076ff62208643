"""Which tokens may still have a request to acquire on its way to the server.

Such a request might get there after the release of its token, and take the lock for somebody who is
gone. Where there may be one, the server has to be told to refuse it; where there is none, as nearly
always, nothing needs to be left there.
"""

from __future__ import annotations

__all__ = ["Recent", "Tokens"]

MANY = 10_000
"""Of so many tokens, and at most twice as many, it is remembered that they were released."""


Key = tuple[str, str]
"""The name of a lock, and a token for it."""


class Recent:
    """A set that forgets what was added long ago."""

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        self._new: set[Key] = set()
        self._old: set[Key] = set()

    def add(self, key: Key) -> None:
        """Add it, and maybe forget what had been added before the last `MANY`."""
        new = self._new
        new.add(key)
        if len(new) >= MANY:
            self._old, self._new = new, set()

    def __contains__(self, key: Key) -> bool:
        return key in self._new or key in self._old


class Tokens:
    """The tokens of one client; any thread may use it."""

    __slots__ = ("_released", "_sent", "_unanswered")

    def __init__(self) -> None:
        self._sent: dict[Key, list[None]] = {}
        """Of tokens that are not released yet: for each acquire that was not answered yet, one."""
        self._released = Recent()
        self._unanswered = Recent()
        """Those of which a release was not answered."""

    def acquires(self, key: Key) -> bool:
        """Note that an acquire is about to be sent; return False if it must not be."""
        # First the note, and then the look: a release does it in reverse, so one sees the other.
        self._sent.setdefault(key, []).append(None)
        if key not in self._released:
            return True
        self._sent.pop(key, None)
        return False

    def was_answered(self, key: Key) -> None:
        """Note that an acquire was answered; one that failed may be carried out yet."""
        sent = self._sent.get(key)
        if sent:
            sent.pop()

    def releases(self, key: Key) -> bool:
        """Note that a release is about to be sent; return whether it may overtake an acquire."""
        self._released.add(key)
        return bool(self._sent.pop(key, None)) or key in self._unanswered

    def release_failed(self, key: Key) -> None:
        """Note that a release was not answered: what it has overtaken may be under way still."""
        self._unanswered.add(key)
