"""A session with PostgreSQL that waits for nothing longer than it is told.

psycopg's own connections wait for a reply as long as it takes, so this is the loop around libpq's
functions that do not wait, which psycopg exports as `psycopg.pq`. One thread or task at a time uses
a session; which one is up to the caller. No other ever touches its socket: a wait that is not
wanted any more ends by itself, because it looks.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import count
from random import shuffle
from time import monotonic
from typing import Any, TypeAlias
from urllib.parse import quote
from weakref import WeakSet

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, PollingStatus

from ._spin import came_from_nearby
from ._steps import Patience, Spin, Steps, Unanswered, Wire, in_thread
from ._urls import ends_in_password

__all__ = [
    "Row",
    "Session",
    "SessionOver",
    "parsed",
    "reason_of",
    "shown",
]

# To look up the name of a host imports this codec, in whichever thread does it first. A child that
# is forked meanwhile would wait for ever for that thread, which it does not have.
import_module("encodings.idna")

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
        _connecting.pop(id(pgconn), None)
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


def parsed(conninfo: str) -> dict[str, Any]:
    """Return the parameters of a connection string; ValueError if it is none."""
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        given = {"host": "?@?"}
    # An @ that is not written as %40 makes a part of the password one of the host. What libpq says
    # of strings that it cannot read is left out, for it may show a part of the password too.
    is_url = conninfo.startswith(("postgresql://", "postgres://"))
    is_open = is_url and ends_in_password(conninfo)
    if is_open or "@" in f"{given.get('host', '')}"[1:] + f"{given.get('port', '')}":
        raise ValueError(
            "conninfo must be a URL such as 'postgresql://user:password@host:5432/database', "
            "special characters in its parts written as %xx, or a connection string of libpq"
        )
    primary = "primary" if pq.version() >= 140000 else "read-write"
    return {
        "fallback_application_name": "backofflock",
        "target_session_attrs": primary,
        **given,
    }


def shown(parameters: Mapping[str, Any]) -> str:
    """Return a URL without what must not be seen."""
    hosts = str(parameters.get("host") or parameters.get("hostaddr") or "").split(",")
    ports = str(parameters.get("port") or "").split(",")
    places = [f"[{host}]" if ":" in host else quote(host, safe="") for host in hosts]
    for i, place in enumerate(places):
        port = ports[i % len(ports)]
        places[i] = f"{place}:{port}" if port else place
    user, database = (quote(str(parameters.get(name, "")), safe="") for name in ("user", "dbname"))
    return f"postgresql://{user}{'@' if user else ''}{','.join(places)}/{database}"


def connect(address: str, patience: Patience) -> pq.abc.PGconn:
    """Return a connection to one address."""
    pgconn = pq.PGconn.connect_start(address.encode())
    _connecting[id(pgconn)] = pgconn
    try:
        while True:
            status = PollingStatus.FAILED
            if pgconn.status != ConnStatus.BAD:
                status = PollingStatus(pgconn.connect_poll())
            if status == PollingStatus.OK:
                pgconn.nonblocking = 1
                return pgconn
            if status == PollingStatus.FAILED:
                raise failed_to_connect(pgconn)
            wire = Wire(pgconn.socket, write=status == PollingStatus.WRITING)
            in_thread(patience.wait(wire))
    except BaseException:
        pgconn.finish()
        _connecting.pop(id(pgconn), None)
        raise


def attempts(parameters: Mapping[str, Any]) -> list[str]:
    """Return the connection strings to try, one for each address of each host.

    libpq would try all that it is given, but waits for ever for the first one that says nothing;
    and while it looks up a name, no other thread of Python runs.
    """
    given = dict(parameters)
    if "host" not in given and "service" not in given and "PGSERVICE" not in os.environ:
        given["host"] = os.environ.get("PGHOST", "")
    lists = {name: str(given.get(name, "")).split(",") for name in ("host", "hostaddr", "port")}
    places = list(range(max(map(len, lists.values()))))
    if given.get("load_balance_hosts") == "random":
        shuffle(places)
    strings: list[str] = []
    failure = psycopg.OperationalError("no host")
    for i in places:
        given.update((name, list_[i % len(list_)]) for name, list_ in lists.items())
        host = given["host"]
        addresses = [given["hostaddr"]]
        if host and not given["hostaddr"] and not host.startswith(("/", "@")):
            try:
                found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
                addresses = [str(entry[4][0]) for entry in found]
            except (OSError, UnicodeError) as error:
                failure = psycopg.OperationalError(f"no address of {host!r}: {error}")
                continue
        for address in addresses:
            one = {**given, "hostaddr": address}
            strings.append(make_conninfo("", **{name: one[name] for name in one if one[name]}))
    if not strings:
        raise failure
    return strings


def failed_to_connect(pgconn: pq.abc.PGconn) -> psycopg.OperationalError:
    """Return why; a class of its own if it is of no use to try again."""
    reason = pgconn.error_message.decode(errors="replace").strip()
    if pgconn.needs_password:
        return psycopg.errors.InvalidPassword(reason)
    return psycopg.OperationalError(reason)


def failure_of(answer: pq.abc.PGresult) -> psycopg.Error | None:
    """Return the error that an answer is, if it is one."""
    if answer.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return None
    fields = (DiagnosticField.SQLSTATE, DiagnosticField.MESSAGE_PRIMARY)
    code, text = ((answer.error_field(field) or b"").decode(errors="replace") for field in fields)
    try:
        return psycopg.errors.lookup(code)(text or "no reason given")
    except KeyError:
        return psycopg.DatabaseError(text or f"status {answer.status}")


def reason_of(error: BaseException) -> str:
    """Return the text of an error on one line."""
    return " ".join(str(error).split())


_sessions: WeakSet[Session] = WeakSet()
_connecting: dict[int, pq.abc.PGconn] = {}
"""What is about to be a session, by its `id`."""


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
    for pgconn in (*_connecting.values(), *(session._pgconn for session in list(_sessions))):
        disown(pgconn)
    _connecting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
