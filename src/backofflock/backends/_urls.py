"""What all URLs of servers have in common."""

from __future__ import annotations

import re

__all__ = ["ends_in_password"]


def ends_in_password(url: str) -> bool:
    """Return whether a ``/``, ``?`` or ``#`` in a password was taken for the end of the authority.

    Then a part of the password counts as host or port, and the rest as database or path, which are
    shown. The ``@`` behind the password tells: nothing else there has one that is not written %40.
    An empty authority has no password.

    >>> ends_in_password("redis://user:12/34@host/0"), ends_in_password("redis://user:1234@host/0")
    (True, False)
    """
    authority, *rest = re.split("[/?#]", url.partition("://")[2], maxsplit=1)
    return bool(authority) and "@" in "".join(rest)
