"""Two event loops, each in a thread of its own, take turns on one lock.

A program has grown a second event loop: a library brought it, or it keeps slow work away from the
first. `asyncio.Lock` belongs to one loop and refuses to be waited for on another. `BackoffLock`
belongs to none.

    $ python examples/two_loops.py
    no lock: counted to … of 200
    BackoffLock: counted to 200 of 200
    asyncio.Lock, on one loop after the other: is bound to a different event loop
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractAsyncContextManager, nullcontext

from backofflock import BackoffLock

ROUNDS, TASKS = 25, 4


class Counter:
    """A number that is read, thought about and written."""

    def __init__(self, lock: AbstractAsyncContextManager[object]) -> None:
        self.lock = lock
        self.value = 0
        self.errors: list[str] = []

    async def count(self) -> None:
        """Add one, `ROUNDS` times."""
        for _ in range(ROUNDS):
            async with self.lock:
                value = self.value
                await asyncio.sleep(0)
                self.value = value + 1

    async def count_in_tasks(self) -> None:
        """Count in several tasks of this loop."""
        outcomes = await asyncio.gather(
            *(self.count() for _ in range(TASKS)), return_exceptions=True
        )
        self.errors += [str(outcome) for outcome in outcomes if outcome]


def on_two_loops(counter: Counter) -> None:
    """Run the same tasks on two loops at once."""
    both_run = threading.Barrier(2)

    async def on_one() -> None:
        await asyncio.to_thread(both_run.wait)
        await counter.count_in_tasks()

    threads = [threading.Thread(target=asyncio.run, args=(on_one(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    for title, lock in (("no lock", nullcontext()), ("BackoffLock", BackoffLock())):
        counter = Counter(lock)
        on_two_loops(counter)
        print(f"{title}: counted to {counter.value} of {2 * TASKS * ROUNDS}")

    refused = Counter(asyncio.Lock())  # on two loops at once it may even hang
    for _ in range(2):
        asyncio.run(refused.count_in_tasks())
    print(f"asyncio.Lock, on one loop after the other: {refused.errors[0].split('> ')[-1]}")
