"""That the requests which are counted are those that come to the server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from importlib import import_module
from types import TracebackType
from typing import Self

import pytest

from benchmarks.fleet import counting
from benchmarks.fleet.cells import BACKENDS
from benchmarks.fleet.counting import FleetTally, count_requests_to
from benchmarks.fleet.peers import all_peers, find_peer
from benchmarks.fleet.servers import Servers
from benchmarks.fleet.worker import WARM_UP

ENTRIES = 10


class Relay:
    """Passes everything on to a port, and counts the round trips whatever the language is.

    One begins where a client says something after the server had the word.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._ends: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.round_trips = 0

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for end in self._ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended
        for thread in self._threads[1:]:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            asked = threading.Event()
            self._ends += [client, server]
            for source, target, from_client in ((client, server, True), (server, client, False)):
                thread = threading.Thread(
                    target=self._pass_on, args=(source, target, asked, from_client)
                )
                self._threads.append(thread)
                thread.start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, asked: threading.Event, client: bool
    ) -> None:
        try:
            while said := source.recv(65536):
                if not client:
                    asked.clear()
                elif not asked.is_set():
                    self.round_trips += 1
                    asked.set()
                target.sendall(said)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one end was closed: the other will be


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers(set(BACKENDS) - {"file"}) as servers:
        assert not servers.missing
        yield servers


@pytest.fixture
def _counting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are as they were, after the test."""
    monkeypatch.setattr(counting, "_counted", set())
    for senders in counting.SENDERS.values():
        for module, owner, method in senders:
            kind = getattr(import_module(module), owner)
            monkeypatch.setattr(kind, method, getattr(kind, method))


@pytest.mark.usefixtures("_counting_ends")
@pytest.mark.parametrize(
    ("host", "name"),
    [
        pytest.param(host, peer.name, id=f"{host}-{peer.name}")
        for peer in all_peers()
        for host in sorted(peer.hosts)
        if host.endswith("/uncontended") and not host.startswith("file/")
    ],
)
def test_the_count_is_that_of_the_round_trips(host: str, name: str, servers: Servers) -> None:
    backend = host.partition("/")[0]
    peer, server = find_peer(name, host), servers[backend]
    count_requests_to(backend)
    tally = FleetTally(1, 0)

    async def in_task(url: str) -> int:
        async with peer.make(url, f"counted in {host}", 1) as (lock,):
            for number in range(WARM_UP + ENTRIES):
                if number == WARM_UP:  # scripts are loaded, statements prepared
                    before = relay.round_trips
                    tally.begin()
                async with lock:
                    pass
            tally.finish()
            return relay.round_trips - before

    def in_thread(url: str) -> int:
        with peer.make(url, f"counted in {host}", 1) as (lock,):
            for number in range(WARM_UP + ENTRIES):
                if number == WARM_UP:
                    before = relay.round_trips
                    tally.begin()
                with lock:
                    pass
            tally.finish()
            return relay.round_trips - before

    with Relay(server.port) as relay:
        url = server.url(relay.port)
        seen = asyncio.run(in_task(url)) if "/asyncio/" in host else in_thread(url)
    assert seen == tally.requests
    assert seen >= 2 * ENTRIES
    assert seen % ENTRIES == 0
