"""``python -m tests.backends.servers``: start each server, take a lock on it, say how long it took.

Exits with 1, and says why, if one of them does not run: its tests would show nothing.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module

from backofflock import Grant, connect

SERVERS = ("file", "redis", "postgres", "etcd")


def took(name: str) -> float:
    """Start a server, take a lock there and release it; return the seconds that took."""
    began = time.monotonic()
    with getattr(import_module(f"{__package__}.{name}"), f"{name.capitalize()}Server")() as server:
        backend = connect(server.url())
        answer = backend.try_acquire("a lock", "a token", 30.0)
        if not isinstance(answer, Grant) or server.is_free("a lock"):
            raise RuntimeError(f"it answered {answer!r}, and has the lock free")
        if not backend.release("a lock", "a token") or not server.is_free("a lock"):
            raise RuntimeError("it did not release the lock")
        close = getattr(backend, "close", None)
        if close is not None:
            close()
    return time.monotonic() - began


def main() -> int:
    """Try them all; return the exit status."""
    failed = 0
    for name in SERVERS:
        try:
            print(f"{name:<10} ran  {took(name):5.1f} s", flush=True)
        except Exception as error:
            failed += 1
            print(f"{name:<10} DID NOT RUN: {error!r}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
