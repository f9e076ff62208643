"""A TCP proxy between a client and a server, in a thread of its own, that loses what it is told to.

The switches may be set from any thread, and are in force once the call has returned. Bytes that are
held stay in order: they go on their way at `let_go`, or are lost with their connection at `cut`.
"""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType
from typing import Any, Self, TypeVar

__all__ = ["Proxy"]

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
PATIENCE = 10.0
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing sends a reset, as a cut does in the end."""


class _Way:
    """One direction, of all connections."""

    def __init__(self) -> None:
        self.is_open = True
        """Whether it is, in connections to come."""
        self.gates: dict[object, bool] = {}
        """Whether it is, in those there are."""
        self.waiting: list[asyncio.Event] = []
        """What is to be set to let a piece pass that is held; the first came first."""
        self.delay = 0.0
        self.seen = 0
        """Pieces that came in."""
        self.held = 0
        """Pieces, or ends of connections, that came in and have not gone out."""

    async def passes(self, connection: object) -> None:
        """Return when a piece that has come in may go out."""
        self.held += 1
        try:
            await asyncio.sleep(self.delay)
            if not self.gates[connection]:
                may_pass = asyncio.Event()
                self.waiting.append(may_pass)
                try:
                    await may_pass.wait()
                finally:
                    self.waiting.remove(may_pass)
        finally:
            self.held -= 1


class Proxy:
    """Passes on what comes to `port`, to `target_port`; both are on loopback."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.connections = 0
        """Connections made to it so far."""
        self._requests = _Way()
        self._replies = _Way()
        self._open: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self._refusing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._do(self._listen())
        self.let_go()

    # -- what the tests see ------------------------------------------------------------------------

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._open)

    @property
    def requests(self) -> int:
        """Pieces that clients have sent so far: at least one for each request and its reply."""
        return self._requests.seen

    @property
    def replies_held(self) -> int:
        """Pieces of the server that have not reached their client."""
        return self._replies.held

    @property
    def requests_held(self) -> int:
        """Pieces of clients that have not reached the server."""
        return self._requests.held

    def until(self, condition: Callable[[], object], what: str, limit: float = PATIENCE) -> None:
        """Wait in this thread for a condition; AssertionError if it does not come true."""
        latest = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < latest, f"in vain for {limit} s: {what}"
            time.sleep(0.001)

    # -- switches ----------------------------------------------------------------------------------

    def swallow_replies(self, *, of_new: bool = True) -> None:
        """Let requests through and hold what the server says, in connections to come or not."""
        self._do(self._set(self._replies, False, of_new))

    def pass_on(self, replies: int) -> None:
        """Let so many go that are held, the first that came first, and hold the others."""
        self._do(self._pass_on(replies))

    def swallow_requests(self) -> None:
        """Hold what clients say, their hanging up included; let through what the server says."""
        self._do(self._set(self._requests, False))

    def swallow_all(self) -> None:
        """Be a network that loses everything: nothing is refused and nothing gets through."""
        self._do(self._set(self._requests, False))
        self._do(self._set(self._replies, False))

    def delay(self, seconds: float) -> None:
        """Let each piece that the server sends arrive so much later, from the next one on."""
        self._replies.delay = seconds

    def refuse(self) -> None:
        """Reset new connections."""
        self._refusing = True

    def cut(self) -> None:
        """Reset the connections there are, on both sides, and lose what they hold."""
        self._do(self._cut_all())

    def let_go(self) -> None:
        """Turn everything off: what was held arrives, in order."""
        self._refusing = False
        self._replies.delay = 0.0
        self._do(self._set(self._requests, True))
        self._do(self._set(self._replies, True))

    def close(self) -> None:
        """Stop listening, cut what is open, and end the thread."""
        if self._loop.is_closed():
            return
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the proxy does not end"
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- in the thread of the proxy ----------------------------------------------------------------

    def _do(self, act: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(act, self._loop).result(PATIENCE)

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connected, LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _set(self, way: _Way, is_open: bool, of_new: bool = True) -> None:
        way.is_open = is_open or not of_new
        way.gates = dict.fromkeys(way.gates, is_open)
        if is_open:
            for may_pass in way.waiting:
                may_pass.set()

    async def _pass_on(self, replies: int) -> None:
        for may_pass in self._replies.waiting[:replies]:
            may_pass.set()
        await asyncio.sleep(0)  # until they are counted no more

    async def _end(self) -> None:
        self._server.close()
        await self._cut_all()

    async def _cut_all(self) -> None:
        connections = list(self._open.items())
        for task, writers in connections:
            for writer in writers:
                reset(writer)
            task.cancel()
        await asyncio.gather(*(task for task, _ in connections), return_exceptions=True)

    async def _connected(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        if self._refusing:
            reset(to_client)
            return
        try:
            from_server, to_server = await asyncio.open_connection(LOOPBACK, self.target_port)
        except OSError:
            reset(to_client)
            return
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = (to_client, to_server)
        pumps = [
            asyncio.create_task(pump(from_client, to_server, self._requests, task)),
            asyncio.create_task(pump(from_server, to_client, self._replies, task)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # it is cut
        finally:
            for half in pumps:
                half.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in (to_client, to_server):
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
            del self._open[task]


async def pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way, connection: object
) -> None:
    """Pass on what is read until it ends, when the switches let it."""
    way.gates[connection] = way.is_open
    try:
        while True:
            try:
                data = await reader.read(65536)
            except OSError:
                data = b""
            way.seen += bool(data)
            await way.passes(connection)
            if not data:
                return
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # there is nobody to pass it on to
    finally:
        del way.gates[connection]


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection as one that is gone, not one that is over."""
    transport = writer.transport
    if not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, RESET)
        transport.abort()
