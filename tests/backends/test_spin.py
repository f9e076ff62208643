"""Risk: who looks for an answer before he sleeps for it keeps others from their turn, goes on
looking for one from far away, or cannot be stopped."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from backofflock import connect
from backofflock.backends import _redis_tasks, _spin, _steps
from backofflock.backends import redis as _redis
from backofflock.backends._spin import Awake, came_from_nearby, spin, spin_in_task
from backofflock.backends.postgres import PostgresBackend

from .fleet import new_name
from .postgres_sessions import advisory_locks, deserted, granted
from .proxy import Proxy
from .servers.base import Server

FOR_EVER = 600.0
"""Seconds, more than any test takes."""


# -- to spin ---------------------------------------------------------------------------------------


def test_a_spin_lets_others_run_and_ends_as_soon_as_there_is_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_spin, "SPIN", FOR_EVER)
    there: list[str] = []
    monkeypatch.setattr(_spin, "yield_processor", lambda: there.append("by a process"))
    assert spin(lambda: there)
    assert there == ["by a process"]

    async def main() -> bool:
        asyncio.get_running_loop().call_soon(there.append, "by a task")
        return await spin_in_task(lambda: len(there) > 1)

    assert asyncio.run(main())


@pytest.mark.parametrize(("limit", "seconds"), [(0.0, FOR_EVER), (FOR_EVER, 0.0)])
def test_a_spin_ends_in_time_if_nothing_comes(
    monkeypatch: pytest.MonkeyPatch, limit: float, seconds: float
) -> None:
    monkeypatch.setattr(_spin, "SPIN", limit)
    assert not spin(list, seconds)
    assert not asyncio.run(spin_in_task(list, seconds))


class Sleeps(selectors.DefaultSelector):
    """A selector that notes how long its event loop is ready to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def select(self, timeout: float | None = None) -> Any:
        self.seconds.append(timeout)
        return super().select(timeout)


def test_a_loop_that_is_awake_sleeps_again_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = Sleeps()

    async def slept(seconds: float) -> bool:
        """Return whether the loop was ready to sleep before the time was over."""
        sleeps.seconds.clear()
        await asyncio.sleep(seconds)
        return any(sleeps.seconds)

    async def main() -> None:
        monkeypatch.setattr(_spin, "SPIN", FOR_EVER)
        with Awake():
            assert not await slept(0.01)
        assert await slept(0.2)
        monkeypatch.setattr(_spin, "SPIN", 0.0)
        with Awake():
            assert await slept(0.2)

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(sleeps)) as runner:
        runner.run(main())


@pytest.mark.parametrize(
    ("seconds", "spun", "near"),
    [(1e-5, True, True), (1.2e-4, False, True), (1.2e-4, True, False), (1e-3, False, False)],
)
def test_an_answer_is_from_nearby_if_a_spin_finds_such(
    seconds: float, spun: bool, near: bool
) -> None:
    assert came_from_nearby(seconds, spun=spun) is near


# -- who spins -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spinner:
    """One who asks a server, and how to see whether he spins."""

    server: str
    is_in_task: bool
    module: ModuleType
    name: str
    """Of what the module spins by."""

    def __str__(self) -> str:
        return f"{self.server}-{'asyncio' if self.is_in_task else 'threads'}"

    def locks(self, url: str, times: int) -> None:
        """Acquire a free lock, and release it, so many times."""
        name = new_name("near")
        backend: Any = connect(url)
        with closing(backend):
            if self.is_in_task:
                asyncio.run(self._locks_in_task(backend, name, times))
                return
            for number in range(times):
                granted(backend.try_acquire(name, f"{number}", 30.0))
                assert backend.release(name, f"{number}")

    async def _locks_in_task(self, backend: Any, name: str, times: int) -> None:
        calls = backend.native("asyncio")
        for number in range(times):
            granted(await calls.try_acquire(name, f"{number}", 30.0))
            assert await calls.release(name, f"{number}")


SPINNERS = [
    Spinner("postgres", False, _steps, "spin"),
    Spinner("postgres", True, _steps, "spin_in_task"),
    Spinner("redis", False, _redis, "spin"),
    Spinner("redis", True, _redis_tasks, "Awake"),
]


@pytest.fixture(params=SPINNERS, ids=str)
def spinner(request: pytest.FixtureRequest, server_of: Callable[[str], Server]) -> Spinner:
    """Return one of them, whose server is up and knows what it is asked."""
    spinner: Spinner = request.param
    spinner.locks(server_of(spinner.server).url(), 1)
    return spinner


@pytest.fixture
def spins(spinner: Spinner, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return what is longer by one after each spin."""
    spins: list[object] = []
    act = getattr(spinner.module, spinner.name)

    def counted(*arguments: Any) -> Any:
        spins.append(arguments)
        return act(*arguments)

    monkeypatch.setattr(spinner.module, spinner.name, counted)
    return spins


@pytest.mark.parametrize(("limit", "spun"), [(FOR_EVER, 6), (0.0, 1)])
def test_only_a_server_that_answers_soon_is_spun_for(
    spinner: Spinner,
    spins: list[object],
    server_of: Callable[[str], Server],
    monkeypatch: pytest.MonkeyPatch,
    limit: float,
    spun: int,
) -> None:
    monkeypatch.setattr(_spin, "SPIN", limit)
    monkeypatch.setattr(_spin, "NEAR", limit)
    spinner.locks(server_of(spinner.server).url(), 3)
    assert len(spins) == spun


def test_a_server_far_away_is_spun_for_once(
    spinner: Spinner, spins: list[object], server_of: Callable[[str], Server]
) -> None:
    server = server_of(spinner.server)
    with Proxy(server.port) as proxy:
        proxy.delay(0.05)
        spinner.locks(server.url(proxy.port), 2)
    assert len(spins) == 1


def test_a_task_that_spins_is_cancelled_as_any_other(
    server_of: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, limit in [(_spin, "SPIN"), (_steps, "SLICE")]:
        monkeypatch.setattr(module, limit, FOR_EVER)
    monkeypatch.setattr(_steps.Wire, "wait_in_task", None)  # nobody sleeps
    name = new_name("cancelled")
    server = deserted(server_of("postgres"))

    async def main(backend: PostgresBackend, proxy: Proxy) -> None:
        calls = backend.native("asyncio")
        assert calls is not None
        granted(await calls.try_acquire(name, "a", 30.0))
        await calls.release(name, "a")
        proxy.swallow_replies(of_new=False)
        trying = asyncio.create_task(calls.try_acquire(name, "b", 30.0))
        async with asyncio.timeout(10.0):
            while not proxy.replies_held:
                await asyncio.sleep(0)
        assert advisory_locks(server) == 1
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        await calls.release(name, "b")
        async with asyncio.timeout(10.0):
            while advisory_locks(server):
                await asyncio.sleep(0.01)

    with Proxy(server.port) as proxy, PostgresBackend(server.url(proxy.port)) as backend:
        asyncio.run(main(backend, proxy))
        granted(backend.try_acquire(name, "c", 30.0))
