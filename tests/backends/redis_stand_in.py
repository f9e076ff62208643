"""Something that listens where a Redis is expected, and answers what it is told to."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["answering", "hanging_up"]


class _Answering(socketserver.StreamRequestHandler):
    """Knows enough of the protocol to see where a request ends."""

    answers: dict[bytes, bytes]

    def handle(self) -> None:
        try:
            while header := self.rfile.readline():
                words = []
                for _ in range(int(header[1:])):
                    length = int(self.rfile.readline()[1:])
                    words.append(self.rfile.read(length + 2)[:-2])
                self.wfile.write(self.answers.get(words[0], b"+OK\r\n"))
        except (ConnectionError, ValueError):
            pass


class _HangingUp(socketserver.StreamRequestHandler):
    """Reads the beginning of a request, and ends the connection."""

    heard: list[bytes]

    def handle(self) -> None:
        self.heard.append(self.request.recv(4096))


class _Listening(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def answering(**answers: str) -> Iterator[str]:
    """Answer each command with a line; yield the address, ``host:port``."""
    lines = {command.encode(): f"{line}\r\n".encode() for command, line in answers.items()}
    with _listening(type("Handler", (_Answering,), {"answers": lines})) as address:
        yield address


@contextmanager
def hanging_up() -> Iterator[tuple[str, list[bytes]]]:
    """Answer nothing; yield the address and what has been heard."""
    heard: list[bytes] = []
    with _listening(type("Handler", (_HangingUp,), {"heard": heard})) as address:
        yield address, heard


@contextmanager
def _listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    with _Listening(("127.0.0.1", 0), handler) as listening:
        serving = threading.Thread(target=listening.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield f"127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            serving.join()
