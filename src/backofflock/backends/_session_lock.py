"""The lock of one token: a session of PostgreSQL that has a session lock, or tries to get it.

What can be known of it is less than it seems: a request may be answered late, a session may be over
for us and not for its server. All that is noted here, so that no lock is ever forgotten, nor taken
twice by one session, which would then have to release it twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from hashlib import blake2b
from math import ceil
from typing import TypeAlias

import psycopg

from ._libpq import Row, Session, SessionOver
from ._steps import Patience, Steps, Unanswered

__all__ = ["LONGEST", "SessionLock", "lock_key"]

Opener: TypeAlias = Callable[[Patience], Steps[Session]]

LONGEST = 2**31 - 1
"""Milliseconds that ``idle_session_timeout`` can be, some 24 days."""

WEIGHT = 4096
"""What a byte of the write-ahead log counts for that is on disk, in a fence: see `fence_of`."""

# Nothing of it is done unless the lock is taken, and the fence is drawn after that: how far the log
# is on disk, and a place in it that nobody else gets, that of a message for nobody. The second one
# is for what a crash or a failover might take from under the fence. It belongs to the transaction,
# and so makes the commit wait until it is on disk, and where a standby must have it, there too.
# Only at the end of a page may the log on disk end in the midst of a record, which is no use then.
# Aurora does not tell how far its log is; a transaction id has to do there.
TRY = b"""
SELECT CASE WHEN pg_try_advisory_lock($1::int8) THEN
    concat_ws(' ',
        CASE WHEN to_regproc('pg_catalog.aurora_version') IS NULL THEN
            concat_ws(' ',
                pg_current_wal_flush_lsn(), pg_logical_emit_message(false, 'backofflock', ''),
                CASE WHEN current_setting('synchronous_standby_names') <> ''
                       OR pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn() > 131072
                       OR pg_current_wal_flush_lsn()::text LIKE '%000'
                     THEN pg_logical_emit_message(true, 'backofflock', '') END)
        ELSE
            concat_ws(' ',
                '0/0', '0/0'::pg_lsn + pg_current_xact_id()::text::numeric,
                pg_logical_emit_message(true, 'backofflock', ''))
        END,
        set_config('idle_session_timeout', $3, false),
        set_config('backofflock.token', $2, false))
END
"""

# The token tells a session from others that a proxy may put in its place.
KEEP = b"""
SELECT set_config('idle_session_timeout', $4, false) IS NOT NULL
   AND current_setting('backofflock.token', true) = $1
   AND EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'
               AND classid::int8 = $2::int8 AND objid::int8 = $3::int8 AND objsubid = 1)
"""

RELEASE = b"""
SELECT pg_advisory_unlock($1::int8), set_config('idle_session_timeout', NULL, false)
"""

# A session that its server still takes for alive, by its process and the lock that it has.
END_SESSION = b"""
SELECT pg_terminate_backend(pid, 1000) FROM pg_locks
WHERE pid = $1::int4 AND locktype = 'advisory' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid::int8 = $2::int8 AND objid::int8 = $3::int8 AND objsubid = 1
"""


def lock_key(name: str) -> int:
    """Return the 64 bits, as a signed number, that PostgreSQL knows a lock by.

    >>> lock_key("orders")
    -4745600598992911451
    """
    data = name.encode("utf-8", "surrogatepass")
    digest = blake2b(data, digest_size=8, person=b"backofflock").digest()
    return int.from_bytes(digest, "big", signed=True)


class SessionLock:
    """What one token has of the server. Only who has its `turn` calls its methods."""

    def __init__(self, name: str, token: str, get_session: Opener) -> None:
        key = lock_key(name)
        self._key = b"%d" % key
        self._halves = [b"%d" % (key >> 32 & 0xFFFFFFFF), b"%d" % (key & 0xFFFFFFFF)]
        self._token = token.encode()
        self._get_session = get_session
        self.turn = threading.Lock()
        self.session: Session | None = None
        self.is_over = False
        """Whether the token was released: it gets nothing any more."""
        self.is_unwanted = False
        """Whether nobody waits for what is under way."""
        self.ttl = 0.0
        """Seconds of silence after which the server ends the session of a holder."""
        self.forget_at = 0.0
        """When it has ended for certain, once the token was released."""
        self._fence: int | None = None
        """Of the grant, while there is one as far as is known."""
        self._is_trying = False
        """Whether the answer that is due, or was lost, is one to `TRY`."""
        self._lost: int | None = None
        """Process of a session that may have the lock, and cannot be used any more."""

    def take(self, ttl: float, patience: Patience) -> Steps[int | None]:
        """Return the fence of the grant that there is from now on, or None."""
        try:
            yield from self._settle(patience)
            fence = self._fence
            if fence is not None and (yield from self.keep(ttl, patience)):
                return fence
            yield from self._end_lost(patience)
            session = yield from self._connected(patience)
            self._is_trying, self.ttl = True, ttl
            values = [self._key, self._token, milliseconds(ttl)]
            self._learn((yield from session.ask(TRY, values, patience)))
        except Unanswered:
            # Without anything due it was over before it was sent.
            self._is_trying &= self.session is not None and self.session.is_due
            raise
        except psycopg.Error:
            if self._is_trying:
                self.drop()  # the lock may have been taken before it failed
            raise
        return self._fence

    def keep(self, ttl: float, patience: Patience) -> Steps[bool]:
        """Start the `ttl` anew, if there is a grant; return whether there is."""
        yield from self._settle(patience)
        if self.session is None or self._fence is None:
            return False
        values = [self._token, *self._halves, milliseconds(ttl)]
        if (yield from self.session.ask(KEEP, values, patience)) != [b"t"]:
            self.drop()
            return False
        self.ttl = ttl
        return True

    def give_back(self, patience: Patience, grace: Patience) -> Steps[bool]:
        """Release the lock; return whether there was a grant. In doubt, the session is closed.

        `grace` is for an answer that is still due, as it is where a task was cancelled.
        """
        had_one = self._fence is not None
        try:
            yield from self._settle(grace)
        except (Unanswered, psycopg.Error):
            # There may be a lock behind that answer. To end the session is quicker than to wait.
            self.drop()
            if had_one:
                raise Unanswered(
                    "a request before it was not answered; the connection was closed"
                ) from None
        except SessionOver as over:
            self.drop(over)
        session = self.session
        if session is None or self._fence is None:
            return (yield from self._end_lost(patience))
        try:
            row = yield from session.ask(RELEASE, [self._key], patience)
        except SessionOver as over:
            self.drop(over)
            if over.is_doubtful:
                raise
            return (yield from self._was_lost(patience))
        except (Unanswered, psycopg.Error):
            self.drop()
            raise
        self._fence = None
        if row is None or row[0] != b"t":
            self.drop()
            return False
        return True

    def drop(self, over: SessionOver | None = None) -> None:
        """Close the session; remember it if the server may still take it for alive."""
        session, self.session = self.session, None
        if session is not None:
            was_tried = self._is_trying and (over is None or over.sent)
            if (was_tried or self._fence is not None) and not (over and over.told):
                self._lost = session.pid
            session.close()
        self._fence, self._is_trying = None, False

    def part(self) -> Session | None:
        """Return the session for others to use, if it is certain that it has no lock."""
        session = self.session
        if session is None or not session.is_idle or self._is_trying or self._fence is not None:
            self.drop()
            return None
        self.session = None
        return session

    def _settle(self, patience: Patience) -> Steps[None]:
        """Read the answer to a request that was given up, if it is still due."""
        if self.session is not None and self.session.is_due:
            self._learn((yield from self.session.reply(patience)))
        elif self._is_trying:  # this thread was interrupted just before it noted the answer
            self.drop()

    def _learn(self, row: Row) -> None:
        """Note the answer to `TRY`, if it is one."""
        if self._is_trying:
            self._fence = fence_of(row[0]) if row and row[0] else None
            self._is_trying = False

    def _connected(self, patience: Patience) -> Steps[Session]:
        if self.session is None:
            self.session = yield from self._get_session(patience)
        return self.session

    def _was_lost(self, patience: Patience) -> Steps[bool]:
        """End a session that its server may not know to be over, if the server can be asked."""
        try:
            return (yield from self._end_lost(patience))
        except (Unanswered, SessionOver, psycopg.Error):
            self.drop()
            return False

    def _end_lost(self, patience: Patience) -> Steps[bool]:
        """See that a session of this token that is out of reach is over; return if it was not."""
        if self._lost is None:
            return False
        session = yield from self._connected(patience)
        values = [b"%d" % self._lost, *self._halves]
        row = yield from session.ask(END_SESSION, values, patience)
        if row == [b"f"]:
            raise Unanswered("the server has not ended an earlier session of the token yet")
        self._lost = None
        return row is not None


def fence_of(answer: bytes) -> int:
    """Return the fence that an answer to `TRY` tells.

    While a server runs, the log on disk never gets shorter, and each message is behind those before
    it. After a crash the log goes on where it was on disk, or further: places that were not there
    yet are given out again. But before the server lets anybody in, it adds a record of 48 bytes at
    the least. In a fence these weigh more than the 128 KiB that `TRY` leaves between the log on
    disk and its end.
    """
    on_disk, place, _ = answer.split(b" ", 2)
    return WEIGHT * position(on_disk) + position(place)


def position(lsn: bytes) -> int:
    """Return the byte of the write-ahead log that a ``pg_lsn`` such as ``16/B374D848`` tells."""
    high, low = lsn.split(b"/")
    return int(high, 16) << 32 | int(low, 16)


def milliseconds(seconds: float) -> bytes:
    """Return a time as the server takes it; 0 would mean that it never ends."""
    return b"%d" % min(max(ceil(seconds * 1000), 1), LONGEST)
