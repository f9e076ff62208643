"""One anyio program, on asyncio and on trio: other work between two tries.

A library is written against anyio and does not know what it will run on. Its indexer wants the
index to itself; while somebody else has it, it does not just wait but reads the next document, and
tries again. `attempts()` keeps its place in the queue meanwhile.

    $ python examples/anyio_program.py
    asyncio: read … documents meanwhile, and added them at attempt …
    trio: read … documents meanwhile, and added them at attempt …

Needs trio, beside anyio.
"""

from __future__ import annotations

import anyio

from backofflock import BackoffLock, Linear

index_lock = BackoffLock(Linear(0.01, cap=0.05), name="index")
"""Made at import time, and used on two event loops of different libraries."""


async def rebuild(started: anyio.Event) -> None:
    """Have the index for a while."""
    async with index_lock:
        started.set()
        await anyio.sleep(0.1)


async def add_documents() -> tuple[int, int]:
    """Return how many documents were read while waiting, and at which attempt the lock came."""
    documents = 0
    async for attempt in index_lock.attempts(timeout=10.0):
        if attempt:
            async with attempt:
                return documents, attempt.number
        documents += 1  # read one more
    raise AssertionError("the last attempt acquires, or AcquireTimeout is raised")


async def main() -> None:
    """Let both meet at the index."""
    started = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(rebuild, started)
        await started.wait()
        documents, number = await add_documents()
    print(f"read {documents} documents meanwhile, and added them at attempt {number}")


if __name__ == "__main__":
    for backend in ("asyncio", "trio"):
        print(backend, end=": ")
        anyio.run(main, backend=backend)
