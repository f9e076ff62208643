"""The lock of one token: a session of PostgreSQL that has a session lock, or tries to get it.

What can be known of it is less than it seems: a request may be answered late, a session may be over
for us and not for its server. All that is noted here, so that no lock is ever forgotten, nor taken
twice by one session, which would then have to release it twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from math import ceil
from typing import TypeAlias

import psycopg

from ._libpq import Row, Session, SessionOver
from ._steps import Patience, Steps, Turn, Unanswered, Wanted

__all__ = ["BLOCK", "LONGEST", "SessionLock", "lock_key"]

Opener: TypeAlias = Callable[[Patience], Steps[Session]]

LONGEST = 2**31 - 1
"""Milliseconds that ``idle_session_timeout`` can be, some 24 days."""

WEIGHT = 4096
"""What a byte of the write-ahead log counts for that is on disk, in a fence: see `Fence`."""

MARGIN = 131072
"""Bytes by which the log may be behind on disk, for a fence that a crash cannot take back."""

BLOCK = 32
"""Fences of one grant: so often it changes hands, for the two requests that it takes. There is no
other place within so few bytes: a message has more."""

# Nothing of it is done unless the lock is taken, and the fence is drawn after that: how far the log
# is on disk, and a place in it that nobody else gets, that of a message for nobody. A message that
# belongs to the transaction hardens the fence: the commit waits until the log so far is on disk,
# and where a standby must have it, there too. It is not always needed, see `Fence`.
OF_THE_LOG = b"""
    pg_current_wal_flush_lsn(), pg_logical_emit_message(false, 'backofflock', ''),
    CASE WHEN current_setting('synchronous_standby_names') <> ''
           OR pg_current_wal_flush_lsn()::text LIKE '%000'
         THEN pg_logical_emit_message(true, 'backofflock', '') ELSE '0/0' END
"""

# Aurora does not tell how far its log is; a transaction id has to do there.
OF_AURORA = (
    b"""
    '0/0', '0/0'::pg_lsn + %d * pg_current_xact_id()::text::numeric,
    pg_logical_emit_message(true, 'backofflock', '')
"""
    % BLOCK
)

OF_EITHER = b"""
    CASE WHEN to_regproc('pg_catalog.aurora_version') IS NULL
        THEN concat_ws(' ', %b) ELSE concat_ws(' ', %b) END
""" % (OF_THE_LOG, OF_AURORA)

TRY = b"""
SELECT CASE WHEN pg_try_advisory_lock($1::int8) THEN
    concat_ws(' ', %b,
        set_config('idle_session_timeout', $3, false),
        set_config('backofflock.token', $2, false))
END
"""

# The server makes everything ready that stands in a statement, wanted or not.
TRY_EITHER, TRY_THE_LOG, TRY_AURORA = (TRY % of for of in (OF_EITHER, OF_THE_LOG, OF_AURORA))

HARDEN = b"SELECT pg_logical_emit_message(true, 'backofflock', '')"

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


@lru_cache
def lock_key(name: str) -> int:
    """Return the 64 bits, as a signed number, that PostgreSQL knows a lock by.

    >>> lock_key("orders")
    -4745600598992911451
    """
    data = name.encode("utf-8", "surrogatepass")
    digest = blake2b(data, digest_size=8, person=b"backofflock").digest()
    return int.from_bytes(digest, "big", signed=True)


def statement_for(session: Session) -> bytes:
    """Return what tries to take a lock in a session."""
    if session.is_aurora is None:
        return TRY_EITHER
    return TRY_AURORA if session.is_aurora else TRY_THE_LOG


class SessionLock(Wanted):
    """What one token has of the server. Only who has its `turn` calls its methods."""

    def __init__(self, name: str, token: str, get_session: Opener) -> None:
        super().__init__()
        self._number = lock_key(name)
        self._key = b"%d" % self._number
        self._token = token.encode()
        self._get_session = get_session
        self.turn = Turn()
        self.session: Session | None = None
        self.is_over = False
        """Whether the token was released: it gets nothing any more."""
        self.ttl = 0.0
        """Seconds of silence after which the server ends the session of a holder."""
        self.forget_at = 0.0
        """When it has ended for certain, once the token was released."""
        self._fence: Fence | None = None
        """Of the grant, while there is one as far as is known."""
        self._is_trying = False
        """Whether the answer that is due, or was lost, is one to `TRY`."""
        self._lost: int | None = None
        """Process of a session that may have the lock, and cannot be used any more."""

    def take(self, ttl: float, patience: Patience) -> Steps[int | None]:
        """Return the first fence of the grant that there is from now on, or None."""
        try:
            yield from self._settle(patience)
            if self._fence is None or not (yield from self.keep(ttl, patience)):
                yield from self._end_lost(patience)
                session = yield from self._connected(patience)
                self._is_trying, self.ttl = True, ttl
                values = [self._key, self._token, milliseconds(ttl)]
                row = yield from session.ask(statement_for(session), values, patience)
                self._learn(session, row)
            fence = self._fence
            if fence is None:
                return None
            if not fence.is_hard:
                assert self.session is not None
                yield from self.session.ask(HARDEN, [], patience)
                fence.is_hard = True
            return fence.number
        except Unanswered:
            # Without anything due it was over before it was sent.
            self._is_trying &= self.session is not None and self.session.is_due
            raise
        except psycopg.Error:
            if self._is_trying:
                self.drop()  # the lock may have been taken before it failed
            raise

    def keep(self, ttl: float, patience: Patience) -> Steps[bool]:
        """Start the `ttl` anew, if there is a grant; return whether there is."""
        yield from self._settle(patience)
        if self.session is None or self._fence is None:
            return False
        values = [self._token, *self._halves(), milliseconds(ttl)]
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
            self._learn(self.session, (yield from self.session.reply(patience)))
        elif self._is_trying:  # this thread was interrupted just before it noted the answer
            self.drop()

    def _learn(self, session: Session, row: Row) -> None:
        """Note the answer to `TRY`, if it is one."""
        if self._is_trying:
            fence = self._fence = Fence(row[0]) if row and row[0] else None
            self._is_trying = False
            if fence is not None:
                session.is_aurora = fence.is_of_aurora

    def _connected(self, patience: Patience) -> Steps[Session]:
        if self.session is None:
            self.session = yield from self._get_session(patience)
        return self.session

    def _halves(self) -> list[bytes]:
        """Return the key as ``pg_locks`` has it."""
        number = self._number
        return [b"%d" % (number >> 32 & 0xFFFFFFFF), b"%d" % (number & 0xFFFFFFFF)]

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
        values = [b"%d" % self._lost, *self._halves()]
        row = yield from session.ask(END_SESSION, values, patience)
        if row == [b"f"]:
            raise Unanswered("the server has not ended an earlier session of the token yet")
        self._lost = None
        return row is not None


class Fence:
    """The fence that an answer to `TRY` tells.

    While a server runs, the log on disk never gets shorter, and each message is behind those before
    it. After a crash the log goes on where it was on disk, or further: places that were not there
    yet are given out again. But before the server lets anybody in, it adds a record of 48 bytes at
    the least. In a fence these weigh more than the `MARGIN` between the log on disk and the place.

    Where there is more between them it has to be hardened before anybody gets it: the log is put on
    disk up to the place. `TRY_THE_LOG` has done so where a standby must have it, for a failover;
    and at the end of a page, of 4 KiB or more, as only there the log on disk may end in the midst
    of a record, which is no use after a crash.
    """

    __slots__ = ("is_hard", "is_of_aurora", "number")

    def __init__(self, answer: bytes) -> None:
        on_disk, place, hardened, _ = answer.split(b" ", 3)
        written, end = position(on_disk), position(place)
        self.is_of_aurora = not written
        self.number = WEIGHT * written + end
        self.is_hard = end - written <= MARGIN or hardened != b"0/0"
        """Whether no crash and no failover can take it back."""


def position(lsn: bytes) -> int:
    """Return the byte of the write-ahead log that a ``pg_lsn`` such as ``16/B374D848`` tells."""
    high, low = lsn.split(b"/")
    return int(high, 16) << 32 | int(low, 16)


def milliseconds(seconds: float) -> bytes:
    """Return a time as the server takes it; 0 would mean that it never ends."""
    return b"%d" % min(max(ceil(seconds * 1000), 1), LONGEST)
