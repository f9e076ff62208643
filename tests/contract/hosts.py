"""Hosts: what runs a main contestant in a world; and which host runs which variant of the locks."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import anyio
import pytest
import trio

from .subjects import VARIANTS, Variant
from .task_worlds import AnyioWorld, AsyncioWorld, TrioWorld
from .worlds import Contestant, Failure, Handle, MixedWorld, ThreadWorld, World

try:
    import uvloop
except ImportError:
    NO_UVLOOP: str | None = "uvloop is not installed (it does not exist for Windows)"
else:
    NO_UVLOOP = None

T = TypeVar("T")


@dataclass(frozen=True)
class Host(ABC):
    """One way to run contestants.

    `patience` bounds the wait for what must happen soon, `limit` the whole run: a lock that hangs
    fails here, by its own time limit.
    """

    name: str
    patience: float = 10.0
    limit: float = 60.0
    missing: str | None = None
    """Why this machine cannot run it, if so."""

    can_cancel = True
    with_threads = False
    """Whether contestants may be threads."""
    one_loop = True
    """Whether all contestants take turns in one thread."""

    @abstractmethod
    def run(self, main: Contestant[T]) -> T:
        """Run `main` to its end and return its result; contestants left over are cancelled."""


class ThreadHost(Host):
    can_cancel = False
    with_threads = True
    one_loop = False

    def run(self, main: Contestant[T]) -> T:
        handle = ThreadWorld(self.patience).spawn(main)
        latest = time.monotonic() + self.limit
        while not handle.done:
            assert time.monotonic() < latest, f"not done within {self.limit} s"
            time.sleep(0.001)
        return handle.outcome()


@dataclass(frozen=True)
class AsyncioHost(Host):
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop

    def run(self, main: Contestant[T]) -> T:
        async def bounded() -> T:
            try:
                async with asyncio.timeout(self.limit) as scope:
                    return await main(AsyncioWorld(self.patience))
            except TimeoutError as error:
                if not scope.expired():
                    raise
                raise AssertionError(f"not done within {self.limit} s") from error

        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            return runner.run(bounded())


class TrioHost(Host):
    def run(self, main: Contestant[T]) -> T:
        return trio.run(self._main, main)

    async def _main(self, main: Contestant[T]) -> T:
        # The error is taken out of the nursery by hand: a nursery would wrap it in a group.
        handle: Handle[T] = Handle("main")
        with trio.move_on_after(self.limit) as scope:
            async with trio.open_nursery() as nursery:
                try:
                    handle._result = await main(TrioWorld(self.patience, nursery))
                except Failure as error:
                    handle.error = error
                handle.done = True
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught, f"not done within {self.limit} s"
        return handle.outcome()


@dataclass(frozen=True)
class AnyioHost(Host):
    backend: str = "asyncio"

    def run(self, main: Contestant[T]) -> T:
        return anyio.run(self._main, main, backend=self.backend)

    async def _main(self, main: Contestant[T]) -> T:
        handle: Handle[T] = Handle("main")
        with anyio.move_on_after(self.limit) as scope:
            async with anyio.create_task_group() as group:
                try:
                    handle._result = await main(AnyioWorld(self.patience, group))
                except Failure as error:
                    handle.error = error
                handle.done = True
                group.cancel_scope.cancel()
        assert not scope.cancelled_caught, f"not done within {self.limit} s"
        return handle.outcome()


@contextmanager
def elsewhere(host: Host) -> Iterator[World]:
    """Run a host in a thread of its own and give its world, to spawn contestants into."""
    worlds: list[World] = []
    ended: list[BaseException | None] = []
    over = threading.Event()

    async def serve(world: World) -> None:
        worlds.append(world)
        while not over.is_set():
            await world.sleep(0.002)

    def run() -> None:
        try:
            host.run(serve)
        except BaseException as error:
            ended.append(error)
        else:
            ended.append(None)

    thread = threading.Thread(target=run, name=f"{host.name} elsewhere", daemon=True)
    thread.start()
    latest = time.monotonic() + host.patience
    while not worlds and not ended:
        assert time.monotonic() < latest, f"{host.name} does not start"
        time.sleep(0.001)
    try:
        yield worlds[0]
    finally:
        over.set()
        thread.join(host.patience)
        assert ended == [None], f"{host.name} ended with {ended}"


@dataclass(frozen=True)
class MixedHost(Host):
    """Contestants run in several worlds at once; the main one is at home in the first."""

    hosts: tuple[Host, ...] = ()

    one_loop = False

    @property
    def with_threads(self) -> bool:  # type: ignore[override]
        return any(host.with_threads for host in self.hosts)

    def run(self, main: Contestant[T]) -> T:
        home, *others = self.hosts
        with ExitStack() as stack:
            worlds = [stack.enter_context(elsewhere(host)) for host in others]

            async def at_home(world: World) -> T:
                return await main(MixedWorld(world, [world, *worlds]))

            return home.run(at_home)


if sys.version_info >= (3, 12):
    NO_EAGER_TASKS = None

    def eager_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop
else:
    NO_EAGER_TASKS = "asyncio has eager tasks from Python 3.12 on"
    eager_loop = asyncio.new_event_loop


def uvloop_loop() -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop()


ON_THREADS = ThreadHost("threads")
ON_ASYNCIO = AsyncioHost("asyncio")
ON_EAGER = AsyncioHost("eager", missing=NO_EAGER_TASKS, new_loop=eager_loop)
ON_UVLOOP = AsyncioHost("uvloop", missing=NO_UVLOOP, new_loop=uvloop_loop)
ON_TRIO = TrioHost("trio")
ON_ANYIO_ASYNCIO = AnyioHost("anyio-asyncio", backend="asyncio")
ON_ANYIO_TRIO = AnyioHost("anyio-trio", backend="trio")
ON_MIXED = MixedHost("mixed", hosts=(ON_THREADS, ON_ASYNCIO, ON_ASYNCIO, ON_TRIO))
ON_MIXED_TASKS = MixedHost("mixed-tasks", hosts=(ON_ASYNCIO, ON_ASYNCIO, ON_TRIO))

LOOPS = (ON_ASYNCIO, ON_EAGER, ON_UVLOOP, ON_TRIO, ON_ANYIO_ASYNCIO, ON_ANYIO_TRIO)
TASK_HOSTS = (*LOOPS, ON_MIXED_TASKS)
HOSTS = (ON_THREADS, *TASK_HOSTS, ON_MIXED)


def fits(host: Host, variant: Variant, foreign: bool) -> bool:
    """Return whether the contestants of the host can use the variant."""
    if variant.for_threads or not host.with_threads:
        return True
    return foreign and variant.over is not None and not isinstance(host, ThreadHost)


def pairs(
    variants: Iterable[Variant] = VARIANTS,
    hosts: Iterable[Host] = HOSTS,
    *,
    foreign: bool = False,
) -> pytest.MarkDecorator:
    """Parametrise a test over ``make`` and ``host``: every variant on every host that it fits.

    `foreign` takes in the threads that use the lock a `BackoffLock` is over: they are excluded, but
    stand in no queue and know of no wake-up, so few promises hold for them.
    """
    chosen = tuple(hosts)
    return pytest.mark.parametrize(
        ("make", "host"),
        [
            pytest.param(
                variant,
                host,
                id=f"{variant.name}-{host.name}",
                marks=pytest.mark.skipif(host.missing is not None, reason=host.missing or ""),
            )
            for variant in variants
            for host in chosen
            if fits(host, variant, foreign)
        ],
    )
