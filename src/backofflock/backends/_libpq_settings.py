"""The settings of connections to PostgreSQL: how they are read, and what of them may be seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from ._urls import ends_in_password

__all__ = ["parsed", "shown"]


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
