"""What clients of TLS have in common: the files they need, and what failures mean.

The words are those of OpenSSL, which all clients pass on.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["is_refusal", "refuse_missing"]

_REFUSAL = re.compile(
    r"certificate verify failed|wrong version number|record layer failure|unsupported protocol"
    r"|no (protocols|ciphers) available|unsafe legacy renegotiation|(key|md) too (small|weak)"
    r"|alert (bad|unsupported|no) certificate|alert certificate (expired|required|revoked|unknown)"
    r"|alert (access denied|decrypt error|handshake failure|insufficient security)"
    r"|alert (protocol version|unknown ca)|key values mismatch|pem lib"
)
"""No server of that name, none that encrypts, none that takes us for a client of its own, or a
certificate of ours that is none."""


def is_refusal(error: object) -> bool:
    """Return whether asking again is of no use, after an `ssl.SSLError` or a text that has it."""
    return bool(_REFUSAL.search(str(error).lower().replace("_", " ")))


def refuse_missing(*paths: Any) -> None:
    """Raise OSError for the first file that cannot be read; whatever is no path is passed over.

    Clients find out as they connect, or say so without its name.
    """
    for path in paths:
        if path and not isinstance(path, bool):
            open(path, "rb").close()
