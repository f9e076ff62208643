"""How a connection to PostgreSQL is opened, at one address after the other.

A fork may come in between: what is not a session yet is listed in `connecting`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from importlib import import_module
from random import shuffle
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, PollingStatus

from ._libpq_errors import failed_to_connect
from ._steps import Patience, Wire, in_thread

__all__ = ["attempts", "connect", "connecting"]

# To look up the name of a host imports this codec, in whichever thread does it first. A child that
# is forked meanwhile would wait for ever for that thread, which it does not have.
import_module("encodings.idna")

connecting: dict[int, pq.abc.PGconn] = {}
"""What is about to be a session, by its `id`."""


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


def connect(address: str, patience: Patience) -> pq.abc.PGconn:
    """Return a connection to one address."""
    pgconn = pq.PGconn.connect_start(address.encode())
    connecting[id(pgconn)] = pgconn
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
        connecting.pop(id(pgconn), None)
        raise
