"""PostgreSQL behind TLS. Not every build of it speaks that by itself, so a proxy of the tests does.

Risk: what libpq has read and decrypted already is waited for at a socket that has no more, for
which the contract is tested too; or a certificate that is wrong is asked for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import cast

import pytest

from backofflock import BackendRefused, Busy
from backofflock.backends.postgres import PostgresBackend
from backofflock.testing import BackendContract
from backofflock.testing._clients import Client, clients, new_token

from .fleet import new_name
from .servers.base import Server
from .servers.postgres import QUOTED, USER, PostgresServer
from .tls import LONG, Encrypting, Identities, each_host


@pytest.fixture
def name() -> str:
    return new_name("tls")


@pytest.fixture(scope="module")
def server(server_of: Callable[[str], Server]) -> PostgresServer:
    return cast("PostgresServer", server_of("postgres"))


@pytest.fixture(scope="module")
def front(server: PostgresServer, identities: Identities) -> Iterator[Encrypting]:
    context = identities.context()
    with closing(Encrypting(server.port, context, as_postgres=True)) as front:
        yield front


@pytest.fixture(scope="module")
def choosy(server: PostgresServer, identities: Identities) -> Iterator[Encrypting]:
    """Return one that lets clients of its own authority in."""
    context = identities.context(asks_clients=True)
    with closing(Encrypting(server.port, context, as_postgres=True)) as front:
        yield front


def url(port: int, **options: object) -> str:
    query = "&".join(f"{option}={value}" for option, value in options.items())
    return f"postgresql://{USER}:{QUOTED}@localhost:{port}/postgres?{query}"


def verified(front: Encrypting, identities: Identities, **options: object) -> str:
    return url(front.port, sslmode="verify-full", sslrootcert=identities.authority, **options)


def use(client: Client, name: str) -> None:
    """Take a lock, keep it, be refused it, give it back."""
    grant = client.gets(name, token := new_token(), LONG)
    assert client.renew(name, token, LONG)
    assert isinstance(client.try_acquire(name, new_token(), LONG), Busy)
    assert client.release(name, token)
    assert client.gets(name, token := new_token(), LONG).fence > grant.fence
    assert client.release(name, token)


class TestOverTLS(BackendContract):
    hosts = ("threads", "asyncio", "trio")
    _url: str

    @pytest.fixture(autouse=True)
    def _behind(self, front: Encrypting, identities: Identities) -> None:
        self._url = verified(front, identities)

    def make_backend(self) -> PostgresBackend:
        return PostgresBackend(self._url)


@each_host
def test_a_client_has_a_certificate(
    choosy: Encrypting, identities: Identities, kind: str, name: str
) -> None:
    own = verified(choosy, identities, sslcert=identities.client, sslkey=identities.client)
    with clients(lambda: PostgresBackend(own), kind, 1) as (client,):
        use(client, name)


@each_host
@pytest.mark.parametrize(
    ("of", "options", "reason"),
    [
        ("front", {"sslmode": "verify-full", "sslrootcert": "system"}, "certificate verify failed"),
        ("front", {"sslmode": "verify-ca", "sslrootcert": "stranger"}, "certificate verify failed"),
        ("front", {"sslmode": "verify-ca", "sslrootcert": "nowhere"}, "nowhere.*does not exist"),
        ("front", {"sslmode": "require", "sslcert": "client", "sslkey": "nowhere"}, "private key"),
        ("choosy", {"sslmode": "require"}, "alert"),
        ("choosy", {"sslmode": "require", "sslcert": "stranger", "sslkey": "stranger"}, "alert"),
        ("server", {"sslmode": "require"}, "does not support SSL"),
    ],
)
def test_what_cannot_be_verified_is_refused(
    request: pytest.FixtureRequest,
    identities: Identities,
    kind: str,
    name: str,
    of: str,
    options: dict[str, str],
    reason: str,
) -> None:
    port = request.getfixturevalue(of).port
    files = {option: getattr(identities, value, value) for option, value in options.items()}
    with (
        clients(lambda: PostgresBackend(url(port, **files)), kind, 1) as (client,),
        pytest.raises(BackendRefused, match=reason),
    ):
        client.try_acquire(name, new_token(), LONG)


@each_host
def test_a_server_of_another_name_is_refused(
    front: Encrypting, identities: Identities, kind: str, name: str
) -> None:
    wrong = verified(front, identities, hostaddr="127.0.0.1").replace("@localhost:", "@db.example:")
    with (
        clients(lambda: PostgresBackend(wrong), kind, 1) as (client,),
        pytest.raises(BackendRefused, match="does not match host name"),
    ):
        client.try_acquire(name, new_token(), LONG)
