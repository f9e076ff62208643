"""A web service and its worker thread share one lock.

A shop sells over HTTP, and a thread books what the suppliers deliver. Both read the stock, do
something slow, and write it back; whoever does so at the same time as another loses that other's
change. The thread enters the lock by ``with``, a request by ``async with``: no request ever blocks
the event loop, however long the thread has the stock.

    $ python examples/web_service.py
    sold 40, delivered 20
    on the shelf: 80, should be 80

    $ python examples/web_service.py --without-lock
    sold 40, delivered 20
    on the shelf: …, should be 80

    $ python examples/web_service.py --serve
    curl -X POST http://127.0.0.1:…/orders
    ^C

Needs the extra ``examples``: starlette, uvicorn and httpx.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backofflock import AcquireTimeout, ThreadBackoffLock

ORDERS, DELIVERIES = 40, 20


class NoLock:
    """What the program would be without."""

    async def acquire_async(self, **_: float) -> None:
        """Let everybody in."""

    def release(self) -> None:
        """Say nothing to nobody."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class Stock:
    """The number of pieces on the shelf."""

    def __init__(self, lock: ThreadBackoffLock | NoLock) -> None:
        self.pieces = 100
        self.lock = lock

    async def sell(self) -> int:
        """Take a piece off the shelf, in a task; raise `AcquireTimeout` rather than wait long."""
        await self.lock.acquire_async(timeout=5.0)
        try:
            pieces = self.pieces
            await asyncio.sleep(0.002)  # ask whoever handles the payment
            self.pieces = pieces - 1
            return self.pieces
        finally:
            self.lock.release()

    def deliver(self) -> None:
        """Put a piece onto the shelf, in a thread."""
        with self.lock:
            pieces = self.pieces
            time.sleep(0.002)  # write the delivery note to the disk
            self.pieces = pieces + 1


def make_app(stock: Stock) -> Starlette:
    """Return the service; its worker thread runs as long as it does."""

    async def order(_: Request) -> Response:
        try:
            return JSONResponse({"left": await stock.sell()})
        except AcquireTimeout as error:
            return JSONResponse({"error": str(error)}, status_code=503)

    @contextlib.asynccontextmanager
    async def with_worker(_: Starlette) -> AsyncIterator[None]:
        def work() -> None:
            for _ in range(DELIVERIES):
                stock.deliver()

        worker = threading.Thread(target=work)
        worker.start()
        yield
        await asyncio.to_thread(worker.join)

    return Starlette(routes=[Route("/orders", order, methods=["POST"])], lifespan=with_worker)


async def send_orders(url: str) -> int:
    """Send all orders at once, and return how many were sold."""
    async with httpx.AsyncClient(timeout=30.0) as client:
        replies = await asyncio.gather(*(client.post(url) for _ in range(ORDERS)))
    return sum(reply.status_code == 200 for reply in replies)


async def main(stock: Stock, customers: bool) -> None:
    """Serve on a free port: our own customers and count, or whoever comes until Ctrl-C."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = "http://{}:{}/orders".format(*listening.getsockname())
    server = uvicorn.Server(uvicorn.Config(make_app(stock), log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    if customers:
        sold = await send_orders(url)
        server.should_exit = True
        await serving
        print(f"sold {sold}, delivered {DELIVERIES}")
        print(f"on the shelf: {stock.pieces}, should be {100 - sold + DELIVERIES}")
    else:
        print(f"curl -X POST {url}", flush=True)
        await serving  # uvicorn answers what it has begun, and then raises what Ctrl-C raises


if __name__ == "__main__":
    stock = Stock(NoLock() if "--without-lock" in sys.argv else ThreadBackoffLock(name="stock"))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(stock, customers="--serve" not in sys.argv))
