"""A command under a lock: waits for the lock, runs the command, and ends it if the lock is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio

from backofflock import DistributedLock, Lease, LeaseLost

from .child import Child
from .signals import Signals, stop_myself

__all__ = ["Supervisor"]

_CHILD_ENDED = getattr(signal, "SIGCHLD", None)
_TYPED_STOP = getattr(signal, "SIGTSTP", None)
_CONTINUE = getattr(signal, "SIGCONT", None)


@dataclass(slots=True)
class Supervisor:
    """Runs one command under one lock."""

    lock: DistributedLock
    command: Sequence[str]
    grace: float
    """Seconds that the command gets to end by itself if the lease is lost."""
    say: Callable[[str], None]
    """Tells the user what must be known."""
    whisper: Callable[[str], None]
    """Tells a user who wants to know all."""
    ended_by: int | None = None
    """The signal that ended the wait."""
    child: Child | None = None
    _scope: anyio.CancelScope | None = None
    _is_loss_told: bool = False

    async def run(self) -> int:
        """Run the command; return its status, or 128 + n if signal n ended the wait.

        Raises what the lock does, and `NotRunnable`. It is `LeaseLost`, and the user was told, if
        the lease was lost before the command had ended.
        """
        try:
            with Signals(self._on_signal) as signals, anyio.CancelScope() as self._scope:
                async with self.lock as lease:
                    # A signal may have come in the very turn of the loop that brought the lock.
                    if self.ended_by is None:
                        await self._run_under(lease, signals)
        except LeaseLost as error:
            if self.child is not None:
                self._tell_of_loss(error, f"the command had ended with status {self.child.status}")
                raise
        if self.child is not None:
            return self.child.status
        assert self.ended_by is not None, "nothing else ends the wait without an error"
        return 128 + self.ended_by

    async def _run_under(self, lease: Lease, signals: Signals) -> None:
        effort = self.lock.statistics()
        tries = f"{effort.attempts} {'attempt' if effort.attempts == 1 else 'attempts'}"
        self.whisper(
            f"has {lease.name!r} after {tries} and {effort.longest_wait:.3f} s, fence {lease.fence}"
        )
        environment = os.environ | {
            "BACKOFFLOCK_NAME": lease.name,
            "BACKOFFLOCK_FENCE": str(lease.fence),
        }
        self.child = child = Child(self.command, environment, signals.unblock)
        try:
            status = await child.wait()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._end(child, lease)
            raise
        self.whisper(f"gives {lease.name!r} back: the command ended with status {status}")

    async def _end(self, child: Child, lease: Lease) -> None:
        """End the command of a lost lease."""
        self._tell_of_loss(lease.loss(), "the command gets SIGTERM")
        if not await child.end(self.grace):
            self.say(f"the command did not end within {self.grace:g} s and was killed")
        self.say(f"the command ended with status {child.status}")

    def _tell_of_loss(self, loss: LeaseLost, consequence: str) -> None:
        """Tell the user, once: a loss shows while the command runs, or at the release."""
        if not self._is_loss_told:
            self._is_loss_told = True
            self.say(f"{loss}; {consequence}")

    def _on_signal(self, number: int, typed: bool) -> None:
        """Forward a signal, or let it end the wait. Called on the loop."""
        child = self.child
        if number == _CHILD_ENDED:
            if child is not None:
                child.look()
            return
        if child is not None:
            child.send(number, typed)
        elif number not in (_TYPED_STOP, _CONTINUE) and self.ended_by is None:
            self.ended_by = number
            if self._scope is not None:
                self._scope.cancel()
        if number == _TYPED_STOP and (typed or child is None):
            # The terminal has stopped the command; the shell waits for us to stop too.
            stop_myself()
