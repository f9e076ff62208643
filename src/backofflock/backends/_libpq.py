"""A session with PostgreSQL that waits for nothing longer than it is told.

psycopg's own connections wait for a reply as long as it takes, so this is the loop around libpq's
functions that do not wait, which psycopg exports as `psycopg.pq`. One thread or task at a time uses
a session; which one is up to the caller. No other ever touches its socket: a wait that is not
wanted any more ends by itself, because it looks.

`_libpq_connecting.py` has how it is opened, `_libpq_errors.py` what its failures mean.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import count
from time import monotonic
from typing import Any, TypeAlias
from weakref import WeakSet

import psycopg
from psycopg import pq
from psycopg.pq import ConnStatus, ExecStatus

from ._libpq_connecting import attempts, connect, connecting
from ._libpq_errors import failure_of, reason_of
from ._spin import came_from_nearby
from ._steps import Patience, Spin, Steps, Unanswered, Wire

__all__ = ["Row", "Session", "SessionOver"]

FRESH = 1.0
"""Seconds for which a session that was there is taken to be there, before something is asked."""

PIPELINES = pq.version() >= 140000
"""Whether libpq can send several messages before it reads an answer."""

REPLACED = "a proxy has put another session in its place, as it must not for session locks"
SHARED = (
    "a proxy has given its session to others too; session locks need a direct connection, or "
    "pool_mode = session with server_reset_query = DISCARD ALL"
)

Row: TypeAlias = list[bytes | None] | None
"""The columns of the only row of an answer, as text; None where it has no row."""


class SessionOver(Exception):
    """The session has ended, and its locks with it, unless its server has not heard of it yet."""

    def __init__(self, reason: str, *, sent: bool, told: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        """Whether the statement had been sent: it may have been carried out."""
        self.told = told
        """Whether the server itself said that it ends the session."""

    @property
    def is_doubtful(self) -> bool:
        """Whether nobody knows if the statement was carried out, and has an effect."""
        return self.sent and not self.told


class Session:
    """One session, in which every statement is a transaction of its own."""

    __slots__ = (
        "__weakref__",
        "_answer",
        "_is_near",
        "_names",
        "_number",
        "_pgconn",
        "_seen_at",
        "_spin",
        "_wire",
        "is_aurora",
        "is_due",
        "pid",
    )

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self._pgconn = pgconn
        _sessions.add(self)
        connecting.pop(id(pgconn), None)
        self._wire = Wire(pgconn.socket)
        self._spin = Spin(self._wire)
        self._is_near = True
        self._answer: pq.abc.PGresult | None = None
        self._names: dict[bytes, bytes] = {}  # of the statements that are prepared
        self._number = count()
        self._seen_at = monotonic()
        self.is_aurora: bool | None = None
        """Whether it is one with Amazon Aurora, once that is known."""
        self.is_due = False
        """Whether the answer to a statement has not been read to its end."""
        self.pid = pgconn.backend_pid
        """Process id of the session on the server; of a proxy in front of it some number."""

    @classmethod
    def open(cls, parameters: Mapping[str, Any], patience: Patience) -> Session:
        """Connect; raise `psycopg.OperationalError` if no server lets us in."""
        addresses = attempts(parameters)
        for left in range(len(addresses), 1, -1):
            try:
                return cls(connect(addresses[-left], patience.share(left)))
            except (psycopg.OperationalError, Unanswered):
                pass  # the next one may do
        return cls(connect(addresses[-1], patience))

    @property
    def server_version(self) -> int:
        """For example 180004."""
        return self._pgconn.server_version

    def is_alive(self) -> bool:
        """Return whether the other side has not hung up, as far as this one knows."""
        try:
            self._look_for_the_end()
        except SessionOver:
            return False
        return True

    @property
    def is_idle(self) -> bool:
        """Whether it is there and waits for a statement."""
        return not self.is_due and self._pgconn.status == ConnStatus.OK

    def ask(self, statement: bytes, values: Sequence[bytes], patience: Patience) -> Steps[Row]:
        """Send a statement and return its answer.

        Raises what `reply` does, and `SessionOver`, with ``sent`` false, if the session is seen to
        have ended before; nobody looks at one that was there within `FRESH`.
        """
        patience.left()
        if monotonic() - self._seen_at >= FRESH:
            self._look_for_the_end()
        parameters = list(values)
        self.is_due = True  # before it is sent: an interrupt must not make it look clean
        try:
            if statement in self._names:
                self._pgconn.send_query_prepared(self._names[statement], parameters)
            elif PIPELINES:
                return (yield from self._prepare_and_ask(statement, parameters, patience))
            else:
                self._pgconn.send_query_params(statement, parameters)
        except psycopg.OperationalError as error:
            raise SessionOver(reason_of(error), sent=True, told=False) from error
        return (yield from self.reply(patience))

    def _prepare_and_ask(
        self, statement: bytes, parameters: list[bytes], patience: Patience
    ) -> Steps[Row]:
        """Have a statement planned for the next times, and carried out, in one message.

        To plan one of ours takes the server longer than to carry it out.
        """
        name = b"backofflock %d" % next(self._number)  # never again, whatever becomes of it
        pgconn = self._pgconn
        pgconn.enter_pipeline_mode()
        pgconn.send_prepare(name, statement)
        pgconn.send_query_prepared(name, parameters)
        pgconn.pipeline_sync()
        row = yield from self.reply(patience)
        self._names[statement] = name
        return row

    def reply(self, patience: Patience) -> Steps[Row]:
        """Return the answer that is due.

        Raises `Unanswered` if it does not come in time, which may be asked for again; `SessionOver`
        if it never will; and a `psycopg.Error` if the server refuses the statement.
        """
        pgconn, nothing_is_left = self._pgconn, False
        spun = self._is_near
        awaited: Spin | Wire = self._spin if spun else self._wire
        began_at = monotonic()
        try:
            while pgconn.flush():
                yield from patience.wait(Wire(pgconn.socket, write=True))
                pgconn.consume_input()
            while True:
                while pgconn.is_busy():
                    if (yield patience.a_while(awaited)):
                        pgconn.consume_input()
                    awaited = self._wire
                part = pgconn.get_result()
                if part is None:
                    if not (PIPELINES and pgconn.pipeline_status):
                        break
                    if nothing_is_left:  # interrupted before the end of a pipeline was sent
                        raise SessionOver("nothing was asked", sent=True, told=False)
                    nothing_is_left = True
                    continue
                nothing_is_left = False
                if part.status == ExecStatus.PIPELINE_SYNC:
                    pgconn.exit_pipeline_mode()
                    break
                elif self._answer is None or not failure_of(self._answer):
                    self._answer = part
        except psycopg.OperationalError as error:
            failure = None if self._answer is None else failure_of(self._answer)
            told = failure is not None
            raise SessionOver(reason_of(failure or error), sent=True, told=told) from error
        answer, self._answer = self._answer, None
        self.is_due = False
        self._seen_at = monotonic()
        self._is_near = came_from_nearby(self._seen_at - began_at, spun=spun)
        if answer is None:
            raise psycopg.InternalError("an empty answer")
        failure = failure_of(answer)
        if failure is not None:
            if isinstance(failure, psycopg.errors.InvalidSqlStatementName):
                raise SessionOver(REPLACED, sent=True, told=False) from failure
            if isinstance(failure, psycopg.errors.DuplicatePreparedStatement):
                raise psycopg.errors.DuplicatePreparedStatement(SHARED) from failure
            if pgconn.status != ConnStatus.OK:
                raise SessionOver(reason_of(failure), sent=True, told=True) from failure
            raise failure
        if not answer.ntuples:
            return None
        return [answer.get_value(0, column) for column in range(answer.nfields)]

    def close(self) -> None:
        """End it: the server gives up its locks when it hears of it. Waits for nothing."""
        self._pgconn.finish()
        self._answer = None
        self.is_due = False

    def _look_for_the_end(self) -> None:
        """Raise `SessionOver` if the other side has hung up while nothing was asked."""
        pgconn = self._pgconn
        try:
            while self._wire.wait(0.0):
                pgconn.consume_input()
                pgconn.is_busy()  # reads what it says
        except psycopg.OperationalError as error:
            raise SessionOver(reason_of(error), sent=False, told=False) from error
        self._seen_at = monotonic()


_sessions: WeakSet[Session] = WeakSet()


def disown(pgconn: pq.abc.PGconn) -> None:
    """Leave it to the parent, in a forked child, which has a copy of its socket.

    To close it as usual would end it for the parent too. The copy has to go all the same: while it
    is open the server does not see the parent die. Its number stays taken, by something harmless,
    so that nothing this object might do can strike another file.
    """
    try:
        fileno = pgconn.socket
    except psycopg.OperationalError:
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, fileno, inheritable=False)
    os.close(nothing)


def _after_fork() -> None:
    for pgconn in (*connecting.values(), *(session._pgconn for session in list(_sessions))):
        disown(pgconn)
    connecting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
