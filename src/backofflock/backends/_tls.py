"""What failures of TLS mean, in the words of OpenSSL, which all clients pass on."""

from __future__ import annotations

import re

__all__ = ["is_refusal"]

_REFUSAL = re.compile(
    r"certificate verify failed|wrong version number|unsupported protocol|no protocols available"
    r"|alert (bad|unsupported|no) certificate|alert certificate (expired|required|revoked|unknown)"
    r"|alert (access denied|handshake failure|insufficient security|protocol version|unknown ca)"
)
"""No server of that name, none that encrypts, or none that takes us for a client of its own."""


def is_refusal(reason: str | None) -> bool:
    """Return whether asking again is of no use; `reason` is `ssl.SSLError.reason`, or has it."""
    return reason is not None and bool(_REFUSAL.search(reason.lower().replace("_", " ")))
