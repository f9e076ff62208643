"""Clients of a backend for the contract: plain calls for any thread, wherever they are carried out.

In threads they are the backend's own. For tasks an event loop runs in a thread of its own, and each
call is a task there, made as the locks make it. So every promise is tested by one function.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from ..distributed._calls import calls_in_tasks, is_async
from ..errors import BackendRefused, BackendUnavailable
from ..leases import AsyncBackend, Backend, Busy, Grant

__all__ = [
    "PATIENCE",
    "Client",
    "at_once",
    "clients",
    "fences_of",
    "new_name",
    "new_token",
    "strictly_growing",
]

PATIENCE = 30.0
"""Seconds that a test waits for threads of its own."""


class Client:
    """The three calls of one backend, whose answers are checked to be answers."""

    def __init__(self, backend: Backend | AsyncBackend, portal: BlockingPortal | None, host: str):
        self.backend = backend
        self._portal = portal
        self._calls: Any = backend if portal is None else calls_in_tasks(backend, host)
        self._asked: dict[tuple[str, str], None] = {}

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        """Ask for the lock."""
        self._asked[name, token] = None
        return _an_answer(self._call("try_acquire", name, token, ttl))

    def gets(self, name: str, token: str, ttl: float) -> Grant:
        """Ask for a lock that must be granted."""
        answer = self.try_acquire(name, token, ttl)
        assert isinstance(answer, Grant), f"lock {name!r} is free, but the answer was {answer}"
        return answer

    def gets_or_fails(self, name: str, token: str, ttl: float) -> Grant | None:
        """Ask for a lock that must be granted, unless nobody knows; then return None."""
        try:
            return self.gets(name, token, ttl)
        except BackendUnavailable:
            return None

    def is_refused(self, name: str, token: str, ttl: float) -> bool:
        """Ask for a lock that must not be granted, by `Busy` or an error; return whether so."""
        try:
            return isinstance(self.try_acquire(name, token, ttl), Busy)
        except (BackendUnavailable, BackendRefused):
            return True

    def gives_up(self, name: str, token: str, ttl: float, within: float) -> None:
        """Ask for the lock in a task that is cancelled after some seconds."""
        assert self._portal is not None, "a thread cannot be cancelled"
        self._asked[name, token] = None
        self._portal.call(self._ask_for, within, name, token, ttl)

    async def _ask_for(self, within: float, name: str, token: str, ttl: float) -> None:
        with anyio.move_on_after(within):
            await self._calls.try_acquire(name, token, ttl)

    def renew(self, name: str, token: str, ttl: float) -> bool:
        """Prolong a grant."""
        return _a_bool("renew", self._call("renew", name, token, ttl))

    def release(self, name: str, token: str) -> bool:
        """Give the lock back."""
        self._asked.pop((name, token), None)
        return _a_bool("release", self._call("release", name, token))

    def _call(self, call: str, *arguments: Any) -> Any:
        function = getattr(self._calls, call)
        if self._portal is None:
            return function(*arguments)
        return self._portal.call(function, *arguments)

    def _close(self) -> None:
        try:
            for name, token in list(self._asked):
                with suppress(BackendUnavailable, BackendRefused):
                    self.release(name, token)
        finally:
            aclose = getattr(self.backend, "aclose", None)
            if aclose is not None and self._portal is not None:
                self._portal.call(aclose)
            close = getattr(self.backend, "close", None)
            if close is not None:
                close()


def _an_answer(answer: object) -> Grant | Busy:
    assert isinstance(answer, (Grant, Busy)), f"try_acquire must return Grant or Busy: {answer!r}"
    if isinstance(answer, Grant):
        assert isinstance(answer.fence, int), f"a fence must be an int: {answer!r}"
        assert answer.ttl > 0, f"a ttl must be more than 0 seconds: {answer!r}"
        if answer.last is not None:
            assert isinstance(answer.last, int), f"a fence must be an int: {answer!r}"
            assert answer.last >= answer.fence, f"a block must have its first fence: {answer!r}"
    else:
        assert answer.retry_after >= 0, f"retry_after must not be negative: {answer!r}"
    return answer


def _a_bool(call: str, answer: object) -> bool:
    assert isinstance(answer, bool), f"{call} must return True or False, not {answer!r}"
    return answer


@contextmanager
def clients(
    make: Callable[[], Backend | AsyncBackend], host: str, number: int
) -> Generator[list[Client]]:
    """Give so many clients, each of a backend of its own, and release and close them afterwards."""
    with ExitStack() as stack:
        portal = None if host == "threads" else stack.enter_context(start_blocking_portal(host))
        made: list[Client] = []
        for _ in range(number):
            backend = make()
            if portal is None and is_async(backend):
                raise TypeError(
                    f"the calls of {backend!r} are coroutines: threads cannot make them. Set hosts "
                    'in your subclass of BackendContract, for example to ("asyncio",)'
                )
            client = Client(backend, portal, host)
            stack.callback(client._close)
            made.append(client)
        yield made


def new_name() -> str:
    """Return the name of a lock that no test has used."""
    return f"contract {secrets.token_hex(16)}"


def new_token() -> str:
    """Return the token of one more acquisition, as the locks choose it."""
    return secrets.token_hex(16)


def at_once(acts: list[Callable[[], Any]]) -> list[Any]:
    """Perform each in a thread of its own, all at once; return what they return, or raise."""
    ready = threading.Barrier(len(acts))
    results: list[Any] = [None] * len(acts)
    errors: list[BaseException] = []

    def perform(i: int, act: Callable[[], Any]) -> None:
        try:
            ready.wait(PATIENCE)
            results[i] = act()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=perform, args=(i, act)) for i, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
        assert not thread.is_alive(), f"a call did not return within {2 * PATIENCE} s"
    if errors:
        raise errors[0]
    return results


def fences_of(grant: Grant) -> list[int]:
    """Return the first and the last fence of a grant, or the only one."""
    return [grant.fence] if grant.last in (None, grant.fence) else [grant.fence, grant.last]


def strictly_growing(fences: list[int]) -> bool:
    """Return whether each is larger than the one before."""
    return all(earlier < later for earlier, later in pairwise(fences))
