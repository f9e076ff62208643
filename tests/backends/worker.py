"""A process of a fleet: it takes a lock, and says on stdout what becomes of that, in lines of JSON.

``python -m tests.backends.worker OPTIONS``, where the options are the fields of `Options` as JSON.
It is told by lines on stdin to ``act``, as one does who holds the lock, and to ``leave``.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from dataclasses import dataclass, replace
from typing import Any

from backofflock import LeaseLost

from ..contract.hosts import ON_ASYNCIO, ON_THREADS, ON_TRIO
from ..contract.worlds import World
from .fleet import Lock, client, lock_in

LIMIT = 300.0
"""Seconds after which a worker ends with an error: its test has ended before."""

HOSTS = {host.name: replace(host, limit=LIMIT) for host in (ON_ASYNCIO, ON_TRIO, ON_THREADS)}


@dataclass(frozen=True)
class Options:
    """What a worker is to do."""

    url: str
    name: str
    host: str = "asyncio"
    ttl: float = 30.0
    tasks: int = 0
    """Contenders; 0 is one holder, who waits for orders."""
    sections: int = 1
    """How often each contender enters."""
    log: str = ""
    """Where they write down that they enter and leave."""


def say(event: str, **facts: Any) -> None:
    """Write one line at once."""
    os.write(1, (json.dumps({"event": event, **facts}) + "\n").encode())


def listen(orders: queue.SimpleQueue[str]) -> None:
    """Read orders; the end of stdin is the end of this process, for nobody is left to listen."""
    text = b""
    while piece := os.read(0, 4096):
        *lines, text = (text + piece).split(b"\n")
        for line in lines:
            orders.put(line.decode())
    os._exit(3)


async def hold(world: World, lock: Lock, orders: queue.SimpleQueue[str]) -> None:
    """Hold the lock and act when told to."""
    try:
        async with lock as lease:
            say("held", fence=lease.fence, ttl=lease.ttl if lease.ttl < 1e9 else None)
            while True:
                order = "" if orders.empty() else orders.get()
                if order == "act":
                    lease.ensure_held()
                    say("acted")
                elif order == "leave":
                    break
                await world.sleep(0.005)
        say("left")
    except LeaseLost as error:
        say("lost", fence=error.fence, reason=error.reason)


async def contend(world: World, lock: Lock, options: Options) -> None:
    """Enter and leave, and write that down where all processes do."""
    log = os.open(options.log, os.O_WRONLY | os.O_APPEND)
    me = os.getpid()

    async def one(world: World) -> None:
        for _ in range(options.sections):
            async with lock as lease:
                os.write(log, f"enter {lease.fence} {me}\n".encode())
                await world.sleep(0.0005)
                lease.ensure_held()
                os.write(log, f"leave {lease.fence} {me}\n".encode())

    contenders = [world.spawn(one, f"contender {i}") for i in range(options.tasks)]
    while (waiting := lock.statistics().tasks_waiting) < options.tasks - 1:
        await world.sleep(0.005)
    say("waiting", tasks=waiting)
    while not all(contender.done for contender in contenders):
        await world.sleep(0.005)
    for contender in contenders:
        contender.outcome()
    os.close(log)
    statistics = lock.statistics()
    say("done", acquired=statistics.acquired, attempts=statistics.attempts, lost=statistics.lost)


def main() -> None:
    options = Options(**json.loads(sys.argv[1]))
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=listen, args=(orders,), daemon=True).start()

    async def serve(world: World) -> None:
        async with client(world, options.url) as backend:
            lock = lock_in(world, options.name, backend, ttl=options.ttl)
            if options.tasks:
                await contend(world, lock, options)
            else:
                await hold(world, lock, orders)

    HOSTS[options.host].run(serve)
    say("over")
    sys.stdout.flush()
    os._exit(0)  # without waiting for the one that listens


if __name__ == "__main__":
    main()
