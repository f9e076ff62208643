"""Risk: a URL leads somewhere else than it says, or an error shows the password that is in it."""

from __future__ import annotations

from typing import Any

import pytest

from backofflock import connect
from backofflock.backends.etcd import EtcdBackend


@pytest.mark.parametrize(
    ("url", "shown", "urls"),
    [
        ("etcd://db", "etcd://db:2379/backofflock/", ["http://db:2379"]),
        (
            "etcd://a:1,b,[::1]:3/jobs",
            "etcd://a:1,b:2379,[::1]:3/jobs/",
            ["http://a:1", "http://b:2379", "http://[::1]:3"],
        ),
        ("etcds://a/x/y%20z/", "etcds://a:2379/x/y z/", ["https://a:2379"]),
        ("etcd://u%40:p%2Fw%3A@a", "etcd://u@@a:2379/backofflock/", ["http://a:2379"]),
    ],
)
def test_urls(url: str, shown: str, urls: list[str]) -> None:
    backend = connect(url)
    assert isinstance(backend, EtcdBackend)
    assert (str(backend), repr(backend)) == (shown, f"EtcdBackend('{shown}')")
    assert backend._cluster._urls == urls
    assert "p/w:" not in shown
    assert str(backend.native("trio")) == shown


def test_logins_and_options_are_those_of_the_url_unless_given() -> None:
    backend = EtcdBackend.from_url("etcd://u%40:p%2Fw%3A@a/jobs")
    assert backend._cluster._login == ("u@", "p/w:")
    backend = EtcdBackend.from_url("etcd://u:p@a/jobs", password="q", prefix="locks/")
    assert backend._cluster._login == ("u", "q")
    assert str(backend) == "etcd://u@a:2379/locks/"


@pytest.mark.parametrize(
    "url",
    [
        *("etcd://", "etcd://u:secret@", "etcd://u:secret@a:b", "etcd://u:secret@a,,b"),
        *("etcd://u:sec/ret@a:1", "etcd://u:secret@[a", "etcd://u:secret@a?verify", "etcd://a#x"),
        *("etcd://u:secret@a?certificate=x", "etcd://u:secret@a:99999", "etcd://u:secr\u2100t@a"),
    ],
)
def test_a_url_that_is_wrong_says_what_is_right_and_not_what_it_was(url: str) -> None:
    with pytest.raises(ValueError, match="a URL of etcd is etcd://user:password@host:2379") as info:
        EtcdBackend.from_url(url)
    assert "sec" not in str(info.value)


@pytest.mark.parametrize(
    ("urls", "options", "error", "text"),
    [
        ([], {}, ValueError, "a URL is needed"),
        (["a:2379"], {}, ValueError, "a URL of a member is"),
        ([3], {}, ValueError, "a URL of a member is"),
        (["http://u:p@a"], {}, ValueError, "give username= and password="),
        (["http://a"], {"username": "u"}, ValueError, "go together"),
        (["http://a"], {"prefix": 3}, TypeError, "prefix must be a str"),
        (["http://a"], {"request_timeout": 0}, ValueError, "more than 0 seconds"),
        (["http://a"], {"request_timeout": "1"}, TypeError, "request_timeout must be"),
    ],
)
def test_wrong_arguments(
    urls: list[Any], options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        EtcdBackend(*urls, **options)
