"""TLS in front of a server of the tests: not every build of one speaks it by itself."""

from __future__ import annotations

import select
import socket
import socketserver
import ssl
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

__all__ = ["LONG", "Encrypting", "Identities", "each_host", "identities_in"]

LONG = 60.0
"""Seconds of a grant that no test outlives."""

each_host = pytest.mark.parametrize("kind", ["threads", "asyncio", "trio"])

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""What a client of PostgreSQL asks for before it encrypts."""


class Identities(NamedTuple):
    """Files of certificates: each of a client has its key as well."""

    authority: Path
    """Of the authority that vouches for the servers and for `client`."""
    server: Path
    client: Path
    stranger: Path
    """A client for whom nobody known vouches."""

    def context(
        self, asks_clients: bool = False, latest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ) -> ssl.SSLContext:
        """Return how a server encrypts; `asks_clients`: it wants to know who they are.

        Then by TLS 1.2: in 1.3 a client may have sent its request when it is turned away, and what
        it is told may go the way of the connection.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.authority)
        context.load_cert_chain(self.server)
        if asks_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.maximum_version = latest
        return context


def identities_in(directory: Path) -> Identities:
    """Write new identities into a directory."""
    ours, theirs = trustme.CA(), trustme.CA()
    files = Identities(*(directory / f"{field}.pem" for field in Identities._fields))
    ours.cert_pem.write_to_path(str(files.authority))
    for file, authority, name in (
        (files.server, ours, "localhost"),
        (files.client, ours, "client.localhost"),
        (files.stranger, theirs, "stranger.localhost"),
    ):
        issued = authority.issue_cert(name, "127.0.0.1", common_name=name)
        issued.private_key_and_cert_chain_pem.write_to_path(str(file))
        file.chmod(0o600)  # libpq reads no key that others may read
    return files


class Encrypting(socketserver.ThreadingTCPServer):
    """Speaks TLS on `port`, and plainly with `target_port`, until it is closed.

    With `as_postgres` it begins as PostgreSQL does: the client asks in plain text.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, target_port: int, context: ssl.SSLContext, *, as_postgres: bool = False
    ) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.port: int = self.server_address[1]
        self._target_port = target_port
        self._context = context
        self._as_postgres = as_postgres
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Pass on what comes, until one side ends or is not who it should be."""
        with suppress(OSError):
            if self._as_postgres:
                if request.recv(len(SSL_REQUEST), socket.MSG_WAITALL) != SSL_REQUEST:
                    return
                request.sendall(b"S")
            with (
                self._context.wrap_socket(request, server_side=True) as here,
                socket.create_connection(("127.0.0.1", self._target_port)) as there,
            ):
                self._open.add(there)
                try:
                    _pass_on(here, there)
                finally:
                    self._open.discard(there)


def _pass_on(here: ssl.SSLSocket, there: socket.socket) -> None:
    while True:
        if here.pending():
            ready: list[socket.socket] = [here]
        else:
            ready, _, _ = select.select([here, there], [], [])
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (there if source is here else here).sendall(data)
