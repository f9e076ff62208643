"""Trio tasks share an access token, and only one of them fetches a new one.

Twenty workers find that the token has run out. The first takes the lock and asks for a new token;
the others wait, and find the new one when their turn comes. One worker is in a hurry: its deadline
passes while it waits, and nothing of it is left behind, neither in the queue nor in the lock.

    python examples/trio_program.py

Needs trio.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trio
import trio.testing

from backofflock import AcquireTimeout, BackoffLock


@dataclass
class Token:
    """An access token that is fetched when it is needed and missing."""

    text: str = ""
    fetched: int = 0
    lock: BackoffLock = field(default_factory=lambda: BackoffLock(name="token"))

    async def get(self, timeout: float | None = None) -> str:
        """Return the token; fetch it if there is none."""
        await self.lock.acquire(timeout=timeout)
        try:
            if not self.text:
                await trio.sleep(0.2)  # ask the server for a token
                self.fetched += 1
                self.text = f"token-{self.fetched}"
            return self.text
        finally:
            self.lock.release()


async def worker(token: Token, got: list[str]) -> None:
    """Do something that needs the token."""
    got.append(await token.get())


async def hurried_worker(token: Token) -> None:
    """Give up after 50 ms."""
    try:
        await token.get(timeout=0.05)
    except AcquireTimeout as error:
        print(f"the hurried one went without: {type(error).__name__}")


async def main() -> None:
    """Start all workers at once."""
    token = Token()
    got: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(worker, token, got)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(hurried_worker, token)
    print(f"{len(got)} workers got {', '.join(sorted(set(got)))}, fetched {token.fetched} time")
    after = token.lock.statistics()
    print(f"locked: {after.locked}, waiting: {after.tasks_waiting}, gave up: {after.timeouts}")


if __name__ == "__main__":
    trio.run(main)
