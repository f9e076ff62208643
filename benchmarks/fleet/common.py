"""What the peers have in common for tasks and threads: names, keys and the text of requests."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = [
    "CONNECTIONS",
    "POSTGRES_TRY",
    "POSTGRES_UNLOCK",
    "REDIS_DELETE",
    "TTL",
    "advisory_key",
    "etcd_address",
    "etcd_grant",
    "etcd_revoke",
    "etcd_txn",
    "file_of",
]

TTL = 30.0
"""Seconds for which a lock that ends by itself is asked for, by every peer."""

CONNECTIONS = 1000
"""The most that a pool may hold: no contender waits for a connection."""

REDIS_DELETE = """
if redis.call('get', KEYS[1]) == ARGV[1] then
    return redis.call('del', KEYS[1])
end
return 0
"""
"""Delete the key if it has the value: how a lock of one Redis is released by hand."""

POSTGRES_TRY = "SELECT pg_try_advisory_lock(%s)"
POSTGRES_UNLOCK = "SELECT pg_advisory_unlock(%s)"


def file_of(url: str, name: str) -> str:
    """Return the path of a lock's file in the directory of a URL."""
    return str(Path(url2pathname(urlsplit(url).path), f"{name}.lock"))


def advisory_key(name: str) -> int:
    """Return the 64 bits by which PostgreSQL knows a lock."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def etcd_address(url: str) -> str:
    """Return where the gateway of etcd answers."""
    return f"http://{urlsplit(url).netloc}"


def etcd_grant() -> dict[str, Any]:
    """Return the body of a request for a lease."""
    return {"TTL": round(TTL)}


def etcd_txn(name: str, lease: str) -> dict[str, Any]:
    """Return the body of a request to create a key unless there is one."""
    key = b64encode(name.encode()).decode()
    return {
        "compare": [{"key": key, "target": "CREATE", "create_revision": "0"}],
        "success": [{"request_put": {"key": key, "value": key, "lease": lease}}],
    }


def etcd_revoke(lease: str) -> dict[str, Any]:
    """Return the body of a request to end a lease, and with it its key."""
    return {"ID": lease}
