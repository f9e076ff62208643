"""What all URLs of servers have in common."""

from __future__ import annotations

import re

__all__ = ["ends_in_password"]


def ends_in_password(url: str) -> bool:
    """Return whether a ``/``, ``?`` or ``#`` in a password was taken for the end of the authority.

    Then a part of the password counts as host or port, and the rest as database or path, which are
    shown. The ``@`` behind the password tells: elsewhere there is one in the value of an option at
    most, or in the path of a socket, where an authority is empty or has had its own.

    >>> ends_in_password("redis://user:12/34@host/0"), ends_in_password("redis://user:1234@host/0")
    (True, False)
    >>> ends_in_password("postgresql://host/jobs?user=me@tenant")
    False
    """
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if not authority or (scheme.lower() == "unix" and "@" in authority):
        return False
    behind = rest[len(authority) :]
    path, _, query = behind.partition("?")
    if behind.startswith("/"):
        options = [option.partition("=") for option in query.split("&")]
        query = "".join(name if is_given else name + value for name, is_given, value in options)
    return "@" in path + query
