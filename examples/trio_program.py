"""Trio tasks share an access token, and only one of them fetches a new one.

Twenty workers find that the token has run out. The first takes the lock and asks for a new token;
the others wait, and find the new one when their turn comes. One more is in a hurry: its deadline
passes while it waits, and nothing of it is left behind, neither in the queue nor in the lock.

    $ python examples/trio_program.py
    no lock: 20 of 20 workers fetched a token
    BackoffLock: 1 of 20 workers fetched a token
    a hurried worker went without
    locked: False, waiting: 0, gave up: 1

Needs trio.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

import trio
import trio.testing

from backofflock import BackoffLock

WORKERS = 20


class Token:
    """An access token that is fetched when it is needed and missing."""

    def __init__(self, lock: AbstractAsyncContextManager[object]) -> None:
        self.text = ""
        self.fetched = 0
        self.lock = lock

    async def get(self) -> str:
        """Return the token; fetch it if there is none."""
        async with self.lock:
            if not self.text:
                await trio.sleep(0.2)  # ask the server for a token
                self.fetched += 1
                self.text = f"token-{self.fetched}"
            return self.text


async def hurried_worker(token: Token) -> None:
    """Give up after 50 ms."""
    with trio.move_on_after(0.05) as patience:
        await token.get()
    if patience.cancelled_caught:
        print("a hurried worker went without")


async def start_workers(token: Token) -> None:
    """Start all workers at once, and wait for them."""
    async with trio.open_nursery() as nursery:
        for _ in range(WORKERS):
            nursery.start_soon(token.get)


async def main() -> None:
    """Let all workers find no token, without a lock and with one; then hurry."""
    lock = BackoffLock(name="token")
    for title, how in (("no lock", nullcontext()), ("BackoffLock", lock)):
        token = Token(how)
        await start_workers(token)
        print(f"{title}: {token.fetched} of {WORKERS} workers fetched a token")

    expired = Token(lock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(start_workers, expired)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(hurried_worker, expired)
    after = lock.statistics()
    print(f"locked: {after.locked}, waiting: {after.tasks_waiting}, gave up: {after.cancellations}")


if __name__ == "__main__":
    trio.run(main)
