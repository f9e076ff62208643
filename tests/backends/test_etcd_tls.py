"""Risk: a connection is encrypted for anybody, or a certificate that is wrong is asked for ever."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from backofflock import BackendRefused, BackendUnavailable
from backofflock.backends.etcd import EtcdBackend
from backofflock.testing._clients import clients, new_token

from .fleet import new_name
from .servers.base import Server
from .servers.etcd import EtcdServer
from .tls import LONG, Encrypting, Identities, each_host


@pytest.fixture
def name() -> str:
    return new_name("tls")


@pytest.fixture(scope="module")
def encrypted() -> Iterator[EtcdServer]:
    with EtcdServer(auto_tls="true") as server:
        yield server


@each_host
def test_tls_is_verified(encrypted: EtcdServer, kind: str, name: str) -> None:
    with clients(lambda: EtcdBackend(encrypted.address), kind, 1) as (client,):
        assert str(client.backend).startswith("etcds://")
        with pytest.raises(BackendRefused, match="CERTIFICATE_VERIFY_FAILED"):
            client.try_acquire(name, new_token(), LONG)
    with clients(lambda: EtcdBackend(encrypted.address, verify=False), kind, 1) as (client,):
        client.gets(name, token := new_token(), LONG)
        assert client.release(name, token)
    certificate = encrypted.directory / "data" / "fixtures" / "client" / "cert.pem"
    url = f"{encrypted.url()}?verify={certificate}"
    with clients(lambda: EtcdBackend.from_url(url), kind, 1) as (client,):
        client.gets(name, token := new_token(), LONG)
        assert client.release(name, token)


def test_files_for_tls_are_read(encrypted: EtcdServer, tmp_path: Path) -> None:
    directory = encrypted.directory / "data" / "fixtures" / "client"
    cert, key = str(directory / "cert.pem"), str(directory / "key.pem")
    EtcdBackend("https://etcd", cert=(cert, key))
    EtcdBackend.from_url(f"etcds://etcd?cert={cert}&key={key}&verify={cert}")
    both = tmp_path / "both.pem"
    both.write_text(Path(cert).read_text() + Path(key).read_text())
    EtcdBackend("https://etcd", cert=str(both))
    for options in {"cert": (key, cert)}, {"verify": key}:
        with pytest.raises(OSError, match="SSL|X509"):
            EtcdBackend("https://etcd", **cast("Any", options))


@pytest.fixture(scope="module")
def choosy(identities: Identities) -> Iterator[EtcdServer]:
    """Return one that lets clients of its own authority in."""
    with EtcdServer(
        cert_file=str(identities.server),
        key_file=str(identities.server),
        trusted_ca_file=str(identities.authority),
        client_cert_auth="true",
    ) as server:
        yield server


@each_host
def test_a_client_has_a_certificate(
    choosy: EtcdServer, identities: Identities, kind: str, name: str
) -> None:
    url = f"{choosy.url()}?verify={identities.authority}&cert={identities.client}"
    with clients(lambda: EtcdBackend.from_url(url), kind, 1) as (client,):
        client.gets(name, token := new_token(), LONG)
        assert client.renew(name, token, LONG)
        assert client.release(name, token)


@each_host
@pytest.mark.parametrize("certificate", ["", "stranger"])
def test_a_client_that_nobody_vouches_for_is_refused(
    choosy: EtcdServer, identities: Identities, kind: str, name: str, certificate: str
) -> None:
    url = f"{choosy.url()}?verify={identities.authority}"
    if certificate:
        url += f"&cert={getattr(identities, certificate)}"
    with (
        clients(lambda: EtcdBackend.from_url(url), kind, 1) as (client,),
        pytest.raises(BackendRefused, match="ALERT_BAD_CERTIFICATE|ALERT_CERTIFICATE_REQUIRED"),
    ):
        client.try_acquire(name, new_token(), LONG)


@pytest.fixture(scope="module")
def latest(server_of: Callable[[str], Server], identities: Identities) -> Iterator[Encrypting]:
    """Return one that turns clients away by TLS 1.3, with the first answer."""
    context = identities.context(asks_clients=True, latest=ssl.TLSVersion.TLSv1_3)
    with closing(Encrypting(server_of("etcd").port, context)) as front:
        yield front


@each_host
def test_who_is_turned_away_late_gets_an_error_of_ours(
    latest: Encrypting, identities: Identities, kind: str, name: str
) -> None:
    backend = EtcdBackend(f"https://localhost:{latest.port}", verify=str(identities.authority))
    with clients(lambda: backend, kind, 1) as (client,):
        for _ in range(20):
            # What it was told may be gone with the connection.
            with pytest.raises((BackendRefused, BackendUnavailable)):
                client.try_acquire(name, new_token(), LONG)


@each_host
def test_a_member_that_does_not_know_the_client_does_not_speak_for_the_others(
    latest: Encrypting,
    server_of: Callable[[str], Server],
    identities: Identities,
    kind: str,
    name: str,
) -> None:
    with closing(Encrypting(server_of("etcd").port, identities.context())) as front:
        url = f"etcds://localhost:{latest.port},localhost:{front.port}"
        for _ in range(5):
            backend = EtcdBackend.from_url(f"{url}?verify={identities.authority}")
            with clients(lambda: backend, kind, 1) as (client,):  # noqa: B023
                token = new_token()
                try:
                    client.gets(name, token, LONG)
                except BackendUnavailable:  # what it was told was gone with the connection
                    client.gets(name, token, LONG)
                assert client.release(name, token)
