"""The file backend: its URLs, and the names and modes of its files."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backofflock import (
    Busy,
    Grant,
    connect,
)
from backofflock.backends.file import FileBackend, file_name

from .servers.file import is_unlocked

NAMES = st.text(st.characters(exclude_categories=()), max_size=300)
"""Surrogates too: any str may be the name of a lock."""

ODD_NAMES = ["", ".", "..", "/", "a/b", "../a", "a\0b", "a\n", "%", "%2F", "=", "\udc80", "é", "K"]


def granted(backend: FileBackend, name: str, token: str = "a") -> int:
    answer = backend.try_acquire(name, token, 1.0)
    assert isinstance(answer, Grant), answer
    assert answer.ttl == float("inf")
    return answer.fence


# -- which directory -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("file:///var/lock/jobs", "/var/lock/jobs"),
        ("FILE:///var/lock/jobs", "/var/lock/jobs"),
        ("file://localhost/var/lock/jobs", "/var/lock/jobs"),
        ("file:/var/lock/jobs", "/var/lock/jobs"),
        ("file:///var/lock/jobs/", "/var/lock/jobs"),
        ("file:///a%20b%2Fc%23%3F%25", "/a b/c#?%"),
        ("file:///caf%C3%A9", "/café"),
        ("file:///%FF", "/\udcff"),
        ("file:///a?network=0", "/a"),
    ],
)
def test_url_says_which_directory(url: str, directory: str) -> None:
    backend = FileBackend.from_url(url)
    assert repr(backend) == f"FileBackend({directory!r})"
    assert str(backend) == f"file://{quote(os.fsencode(directory))}"
    assert repr(FileBackend.from_url(str(backend))) == repr(backend)


@pytest.mark.parametrize("url", ["file:///a?network=1", "file:///a?network=true"])
def test_url_may_allow_networks(url: str) -> None:
    assert repr(FileBackend.from_url(url)) == "FileBackend('/a', network=True)"
    assert repr(FileBackend.from_url(url, network=False)) == "FileBackend('/a')"
    assert repr(connect("file:///a", network=True)) == "FileBackend('/a', network=True)"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http:///a", "begins with file://, not http:"),
        ("file://jobs", "names the host 'jobs': an absolute path has three slashes"),
        ("file://nas/jobs", "names the host 'nas'"),
        ("file://me:secret@nas/jobs", "names the host 'nas'"),
        ("file:jobs", "an absolute path, as in file:///var/lock/jobs, not 'jobs'"),
        ("file://", "an absolute path, as in file:///var/lock/jobs, not ''"),
        ("file:///a#b", "must be written as %23"),
        ("file:///a?b", "not in b= "),
        ("file:///a?nfs=1", "may end in .network=1 or .network=0, not in nfs=1 "),
        ("file:///a?network=yes", "not in network=yes "),
        ("file:///a%00b", "directory must be the path of one, not '/a.x00b'"),
    ],
)
def test_url_that_means_nothing_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        FileBackend.from_url(url)
    assert "secret" not in str(caught.value)


def test_directory_may_be_a_path_or_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backends = [FileBackend("jobs"), FileBackend(Path("jobs")), FileBackend(tmp_path / "jobs")]
    monkeypatch.chdir("/")  # where it was made counts
    granted(backends[0], "orders")
    for backend in backends:
        assert str(backend) == (tmp_path / "jobs").as_uri()
    for backend in backends[1:]:
        assert backend.try_acquire("orders", "b", 1.0) == Busy()
    backends[0].close()


@pytest.mark.parametrize("directory", [b"/a", 3, None])
def test_directory_must_be_text(directory: object) -> None:
    with pytest.raises(TypeError):
        FileBackend(directory)  # type: ignore[arg-type]


def test_directory_must_be_named() -> None:
    with pytest.raises(ValueError, match="must be the path of one, not ''"):
        FileBackend("")


def test_network_is_a_switch() -> None:
    with pytest.raises(TypeError, match="network must be True or False, not 1"):
        FileBackend("/a", network=1)  # type: ignore[arg-type]


def test_nothing_is_made_before_the_first_acquire(tmp_path: Path) -> None:
    with FileBackend(tmp_path / "a" / "b") as backend:
        assert not backend.renew("orders", "a", 1.0)
        assert not backend.release("orders", "a")
        assert not list(tmp_path.iterdir())
        granted(backend, "orders", "b")
        assert os.listdir(tmp_path / "a" / "b") == ["orders.lock"]


# -- which file ------------------------------------------------------------------------------------


@given(NAMES, NAMES, st.booleans())
def test_each_name_has_a_file_of_its_own(one: str, other: str, folds_case: bool) -> None:
    names = []
    for name in (one, other):
        found = file_name(name, folds_case)
        assert found.endswith(".lock")
        assert found.isascii()
        assert not set(found) & set('/\\:*?"<>|\0')
        assert len(found) <= 255
        names.append(found.casefold() if folds_case else found)
    assert (names[0] == names[1]) == (one == other)


@pytest.mark.parametrize("folds_case", [True, False])
def test_names_that_resemble_each_other_have_files_of_their_own(folds_case: bool) -> None:
    long = "é" * 100
    names = [
        *ODD_NAMES,
        "a",
        "A",
        "k",
        "\N{KELVIN SIGN}",
        "e\u0301",
        long,
        f"{long}a",
        long.upper(),
    ]
    names += [file_name(name, folds_case).removesuffix(".lock") for name in (long, "a/b")]
    files = [file_name(name, folds_case) for name in names]
    if folds_case:
        files = [file.casefold() for file in files]
    assert len(set(files)) == len(names)


@pytest.mark.parametrize("name", [*ODD_NAMES, "x" * 255, "x" * 5000])
def test_files_are_in_the_directory(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "locks"
    with FileBackend(directory) as backend:
        granted(backend, name)
        assert os.listdir(directory) == [file_name(name)]
        assert os.listdir(tmp_path) == ["locks"]
        assert not is_unlocked(directory / file_name(name))


@pytest.mark.parametrize(
    ("directory_mode", "file_mode"),
    [(0o755, 0o600), (0o700, 0o600), (0o770, 0o660), (0o2775, 0o660), (0o1777, 0o666)],
)
@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_who_may_make_files_in_the_directory_may_use_them(
    tmp_path: Path, directory_mode: int, file_mode: int, umask: int
) -> None:
    directory = tmp_path / "locks"
    directory.mkdir()
    directory.chmod(directory_mode)
    before = os.umask(umask)
    try:
        with FileBackend(directory) as backend:
            granted(backend, "orders")
    finally:
        os.umask(before)
    found = (directory / "orders.lock").stat()
    assert oct(stat.S_IMODE(found.st_mode)) == oct(file_mode)
    assert found.st_gid == directory.stat().st_gid
