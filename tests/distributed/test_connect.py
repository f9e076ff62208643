"""`connect`: the backend of a URL, or an error that says what to do and no password."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from backofflock import DistributedLock, ThreadDistributedLock, backends, connect
from backofflock.leases import Backend

CLIENTS = {
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
    "postgresql": "psycopg",
    "postgres": "psycopg",
    "etcd": "httpx",
    "etcds": "httpx",
}

EXTRAS = {"psycopg": "postgres", "httpx": "etcd", "redis": "redis"}


def test_a_directory(tmp_path: Path) -> None:
    backend = connect(tmp_path.as_uri())
    assert isinstance(backend, Backend)
    assert type(backend).__module__ == "backofflock.backends.file"


@pytest.mark.parametrize("lock", [DistributedLock, ThreadDistributedLock])
def test_a_lock_takes_a_url(lock: type[DistributedLock], tmp_path: Path) -> None:
    made = lock("orders", tmp_path.as_uri())
    assert repr(made).startswith(f"<{lock.__module__}.{lock.__qualname__} 'orders' at ")
    assert tmp_path.name in repr(made)


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("", "none"),
        ("orders", "none"),
        ("mysql://user:secret@host/db", "mysql://"),
        ("redis:/user:secret@host", "none"),
        ("user:secret@host", "none"),
        ("mysql://user:secre\u2100t@host", "mysql://"),  # which urlsplit refuses, and quotes
    ],
)
def test_a_url_of_no_backend(url: str, given: str) -> None:
    with pytest.raises(ValueError, match="a backend's URL begins with one of file://") as raised:
        connect(url)
    assert str(raised.value).endswith(f"this one has {given}")
    assert "secre" not in str(raised.value)


@pytest.mark.parametrize("url", [b"redis://:secret@host", None, 6379, Path("/secret")])
def test_what_is_no_url(url: Any) -> None:
    with pytest.raises(TypeError, match="url must be a str such as 'redis://") as raised:
        connect(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(("scheme", "client"), CLIENTS.items())
def test_a_client_that_is_missing_names_its_extra(
    scheme: str, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == client or name.startswith("backofflock.backends."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, client, None)
    extra = EXTRAS[client]
    with pytest.raises(ModuleNotFoundError) as raised:
        connect(f"{scheme}://user:secret@localhost/0")
    message = str(raised.value)
    assert message.startswith(f"{scheme}:// needs the package {client}: pip install")
    assert f"'backofflock[{extra}]'" in message
    assert "secret" not in message
    assert str(raised.value.name).partition(".")[0] == client


def test_another_module_that_is_missing_is_not_taken_for_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str, package: str | None = None) -> Any:
        raise ModuleNotFoundError("No module named 'ssl'", name="ssl")

    monkeypatch.setattr(backends, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="No module named 'ssl'"):
        connect("redis://localhost")


@pytest.mark.parametrize("scheme", CLIENTS)
def test_a_password_is_not_in_the_repr(scheme: str) -> None:
    url = f"{scheme}://user:secret@localhost:1/0"
    if scheme == "unix":
        url = "unix://user:secret@/run/redis.sock"
    backend = connect(url)
    try:
        for lock in (DistributedLock("orders", backend), backend):
            assert "secret" not in repr(lock) + str(lock)
        assert import_module(type(backend).__module__)
    finally:
        close = getattr(backend, "close", None)
        if close is not None:
            close()


def test_options_go_to_the_backend(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        connect(tmp_path.as_uri(), nonsense=1)


def test_schemes_are_written_in_any_case(tmp_path: Path) -> None:
    assert connect(tmp_path.as_uri().replace("file", "FILE"))
