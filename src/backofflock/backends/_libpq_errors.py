"""How failures of PostgreSQL and of libpq become exceptions, and which of them are final."""

from __future__ import annotations

import psycopg
from psycopg import pq
from psycopg.pq import DiagnosticField, ExecStatus

from ._tls import is_refusal

__all__ = ["failed_to_connect", "failure_of", "is_final", "reason_of"]

REFUSALS = ("0A", "22", "28", "3D", "42")
"""Classes of SQLSTATE with which it is of no use to ask again."""

REFUSED_LOGINS = (
    "authentication failed",
    "does not exist",
    "is not permitted to log in",
    "no password supplied",
    "no pg_hba.conf entry",
    "permission denied",
    "pg_hba.conf rejects",
    "requires a valid client certificate",
    "does not support SSL",
    "does not match host name",
    "root certificate file",
    "not private key file",
    "could not load private key file",
    "group or world access",
    'weak sslmode "',
)
"""What PostgreSQL and its client say, in English, where nobody gets in who asks like this."""


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


def is_final(error: psycopg.Error, reason: str) -> bool:
    """Return whether it is of no use to ask again."""
    if error.sqlstate:
        return error.sqlstate.startswith(REFUSALS)
    last = reason.rpartition("connection to server ")[2]  # it may have tried with and without TLS
    return is_refusal(last) or any(text in last for text in REFUSED_LOGINS)
