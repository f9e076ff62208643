"""A password never shows, whichever of its characters were not written as they must be in a URL."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from backofflock import DistributedLock, ThreadDistributedLock, connect
from backofflock.backends._urls import ends_in_password
from backofflock.backends.etcd import EtcdBackend
from backofflock.backends.redis import RedisBackend

SCHEMES = ("redis", "rediss", "postgresql", "postgres", "etcd", "etcds")
HEADS = ("", "4711", "sesame", "4711@sesame")
ENDS = ("/", "?", "#")


def assert_unseen(error: BaseException | None) -> None:
    while error is not None:
        for secret in ("4711", "sesame", "shadow"):
            assert secret not in f"{error} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize(("scheme", "head", "end"), list(product(SCHEMES, HEADS, ENDS)))
def test_a_password_that_ends_the_authority(scheme: str, head: str, end: str) -> None:
    password = f"{head}{end}shadow"
    for tail in ("", "/7", ":1/7", "/7?timeout=1", "/shadow?user=shadow@x", "/7?shadow@x"):
        with pytest.raises(ValueError, match="written as %") as caught:
            connect(f"{scheme}://user:{password}@server{tail}")
        assert_unseen(caught.value)


def test_a_socket_has_no_authority_and_may_have_a_password() -> None:
    assert str(connect("unix:///run/redis@home.sock?db=1")) == "unix:///run/redis@home.sock?db=1"
    with pytest.raises(ValueError, match="written as %") as caught:
        connect("unix://user:4711/shadow@/run/redis.sock")
    assert_unseen(caught.value)
    shown = str(connect("postgresql:///jobs?host=/run/x&user=me@tenant&password=shadow"))
    assert shown == "postgresql://me%40tenant@%2Frun%2Fx/jobs"
    assert str(connect("unix://me@/run/redis@6379.sock")) == "unix:///run/redis@6379.sock?db=0"


def test_options_may_have_an_at_sign() -> None:
    backend = connect("redis://cache:6379/0?password=p@ss&prefix=app@prod:")
    assert str(backend) == "redis://cache:6379/0"
    shown = str(connect("postgresql://srv.example/jobs?user=admin@srv&sslmode=require"))
    assert shown == "postgresql://admin%40srv@srv.example/jobs"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_that_is_written_as_it_must_be(scheme: str) -> None:
    url = f"{scheme}://user:4711%2Fsesame%3Fsha%23dow%40@server:1/7"
    assert not ends_in_password(url)
    shown = repr(connect(url))
    assert "server:1/7" in shown
    assert not any(secret in shown for secret in ("4711", "sesame", "dow"))


def test_what_is_no_backend_is_told_by_its_type() -> None:
    url: Any = "redis://:sesame@server/0"
    with pytest.raises(TypeError, match="not str; see from_url") as caught:
        RedisBackend(url)
    assert_unseen(caught.value)
    for face in (DistributedLock, ThreadDistributedLock):
        with pytest.raises(TypeError, match="not bytes") as caught:
            face("jobs", url.encode())
        assert_unseen(caught.value)


@pytest.mark.parametrize(
    "url", ["http://u:sesame@host", "http://u:sesame/shadow@host", "http://u:sesame", "u:sesame"]
)
def test_a_member_of_etcd_with_a_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"a URL of a member is|give username=") as caught:
        EtcdBackend(url)
    assert_unseen(caught.value)


def test_options_of_ours_in_a_url_of_redis() -> None:
    backend = connect("redis://server/0?prefix=shop:&request_timeout=2.5")
    assert isinstance(backend, RedisBackend)
    assert backend._site.prefix == "shop:"
    assert backend._client.connection_pool.connection_kwargs["socket_timeout"] == 2.5
    assert backend._in_tasks is not None
    assert not {"prefix", "request_timeout"} & set(backend._in_tasks._settings or {})
    assert backend._in_tasks._timeout == 2.5
