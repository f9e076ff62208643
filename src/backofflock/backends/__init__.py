"""Backends: where the locks of a fleet are kept. Each is optional, and loaded when it is asked for.

=======================  ==========================  ===============================
URL                      where                       extra to install
=======================  ==========================  ===============================
``file:///directory``    files of one machine        none
``redis://host:6379/0``  Redis, also ``rediss://``   ``backofflock[redis]``
``postgresql://host/db`` PostgreSQL                  ``backofflock[postgres]``
``etcd://host:2379``     etcd v3, also ``etcds://``  ``backofflock[etcd]``
=======================  ==========================  ===============================
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import Any

from ..leases import Backend

__all__ = ["connect"]

_BACKENDS = MappingProxyType(
    {
        # scheme: module, class, what it needs beside the standard library, extra
        "file": ("file", "FileBackend", None, None),
        "redis": ("redis", "RedisBackend", "redis", "redis"),
        "rediss": ("redis", "RedisBackend", "redis", "redis"),
        "unix": ("redis", "RedisBackend", "redis", "redis"),
        "postgresql": ("postgres", "PostgresBackend", "psycopg", "postgres"),
        "postgres": ("postgres", "PostgresBackend", "psycopg", "postgres"),
        "etcd": ("etcd", "EtcdBackend", "httpx", "etcd"),
        "etcds": ("etcd", "EtcdBackend", "httpx", "etcd"),
    }
)


def connect(url: str, **options: Any) -> Backend:
    """Return the backend of a URL; nothing is sent before the first acquire.

    `options` are the keyword arguments of the backend's ``from_url``. Raises ValueError for a URL
    that is none of a backend, and ModuleNotFoundError, naming the extra to install, where a client
    library is missing.

    >>> import tempfile
    >>> from pathlib import Path
    >>> directory = tempfile.mkdtemp()
    >>> backend = connect(Path(directory).as_uri())
    >>> backend.try_acquire("orders", "my token", ttl=30.0).fence > 0
    True
    >>> backend.try_acquire("orders", "another", ttl=30.0)
    Busy(retry_after=0.0)
    >>> backend.release("orders", "my token")
    True
    """
    if not isinstance(url, str):
        kind = type(url).__name__
        raise TypeError(f"url must be a str such as 'redis://localhost:6379/0', not {kind}")
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in _BACKENDS:
        known = ", ".join(f"{name}://" for name in _BACKENDS)
        given = f"{scheme}://" if scheme else "none"
        raise ValueError(f"a backend's URL begins with one of {known}; this one has {given}")
    module, name, needs, extra = _BACKENDS[scheme]
    try:
        found = import_module(f".{module}", __name__)
    except ModuleNotFoundError as error:
        if needs is None or error.name is None or error.name.partition(".")[0] != needs:
            raise
        raise ModuleNotFoundError(
            f"{scheme}:// needs the package {needs}: pip install 'backofflock[{extra}]'",
            name=error.name,
        ) from error
    backend: Backend = getattr(found, name).from_url(url, **options)
    return backend
