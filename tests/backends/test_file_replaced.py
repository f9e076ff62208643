"""Risk: a lock's file is deleted or replaced, and two hold what they take for the same lock."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backofflock import (
    BackendUnavailable,
    Busy,
    Constant,
    DistributedLock,
    Grant,
    Lease,
    LeaseLost,
    ThreadDistributedLock,
)
from backofflock.backends import _flock
from backofflock.backends.file import FileBackend

from ..contract.hosts import ON_ASYNCIO, ON_TRIO, Host
from ..contract.worlds import World
from .fleet import HOSTS, by_host, elapsed_until, lock_in
from .servers.file import descriptors_in, is_unlocked

NAME = "orders"
FILE = f"{NAME}.lock"


def unlinked(directory: Path) -> None:
    (directory / FILE).unlink()


def replaced(directory: Path) -> None:
    (directory / "new").touch()
    (directory / "new").rename(directory / FILE)


def renamed(directory: Path) -> None:
    (directory / FILE).rename(directory / "old")


def without_directory(directory: Path) -> None:
    shutil.rmtree(directory)


def directory_renamed(directory: Path) -> None:
    directory.rename(directory.with_name("old"))


def directory_is_a_file(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.touch()


WAYS = [unlinked, replaced, renamed, without_directory, directory_renamed]
Way = Callable[[Path], None]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.mark.parametrize("way", WAYS)
def test_lock_is_lost_and_another_gets_it(directory: Path, way: Way) -> None:
    with FileBackend(directory) as one, FileBackend(directory) as two:
        first = one.try_acquire(NAME, "a", 1.0)
        assert isinstance(first, Grant)
        way(directory)
        second = two.try_acquire(NAME, "b", 1.0)
        assert isinstance(second, Grant)
        assert second.fence > first.fence
        assert not one.renew(NAME, "a", 1.0), "it is lost"
        assert not one.renew(NAME, "a", 1.0), "for good"
        assert not one.release(NAME, "a")
        assert not is_unlocked(directory / FILE), "what a gave back was not b's"
        assert one.try_acquire(NAME, "c", 1.0) == Busy()
        assert two.renew(NAME, "b", 1.0)
        assert two.release(NAME, "b")
        assert isinstance(one.try_acquire(NAME, "d", 1.0), Grant)


@pytest.mark.parametrize("way", [*WAYS, directory_is_a_file])
def test_loss_is_noticed_at_the_release(directory: Path, way: Way) -> None:
    with FileBackend(directory) as backend:
        backend.try_acquire(NAME, "a", 1.0)
        way(directory)
        assert not backend.release(NAME, "a")


@pytest.mark.parametrize("way", WAYS)
def test_holder_that_asks_again_gets_a_new_grant(directory: Path, way: Way) -> None:
    with FileBackend(directory) as one, FileBackend(directory) as two:
        first = one.try_acquire(NAME, "a", 1.0)
        assert one.try_acquire(NAME, "a", 1.0) == first
        way(directory)
        second = one.try_acquire(NAME, "a", 1.0)
        assert isinstance(first, Grant)
        assert isinstance(second, Grant)
        assert second.fence > first.fence
        assert two.try_acquire(NAME, "b", 1.0) == Busy()
        assert one.renew(NAME, "a", 1.0)
        assert one.release(NAME, "a")


@pytest.mark.parametrize("way", WAYS)
def test_lost_lock_is_not_granted_to_one_who_lost_it(directory: Path, way: Way) -> None:
    with FileBackend(directory) as one, FileBackend(directory) as two:
        one.try_acquire(NAME, "a", 1.0)
        way(directory)
        two.try_acquire(NAME, "b", 1.0)
        assert one.try_acquire(NAME, "a", 1.0) == Busy()
        assert not one.renew(NAME, "a", 1.0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(**by_host(*HOSTS))
def test_waiter_gets_the_new_file(directory: Path, host: Host, way: Way) -> None:
    """Its holder goes on, and never lets go of the old one."""

    async def main(world: World) -> None:
        with FileBackend(directory) as one, FileBackend(directory) as two:
            one.try_acquire(NAME, "a", 1.0)
            lock = lock_in(world, NAME, two, schedule=Constant(0.01))
            leases: list[Lease] = []

            async def wait(world: World) -> None:
                async with lock as lease:
                    leases.append(lease)

            waiter = world.spawn(wait)
            await world.until(lambda: lock.statistics().locked, "it asks")
            await world.sleep(0.05)
            assert not leases
            way(directory)
            await world.until(lambda: waiter.done, "the waiter's turn")
            waiter.outcome()
            assert not one.renew(NAME, "a", 1.0)

    host.run(main)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(**by_host(ON_ASYNCIO, ON_TRIO))
def test_body_is_cancelled_within_a_renewal(directory: Path, host: Host, way: Way) -> None:
    async def main(world: World) -> None:
        with FileBackend(directory) as backend:
            lock = DistributedLock(NAME, backend, ttl=0.6)
            leases: list[Lease] = []

            async def hold(world: World) -> None:
                async with lock as lease:
                    leases.append(lease)
                    await world.sleep(60.0)

            holder = world.spawn(hold)
            await world.until(lambda: leases, "the lease")
            way(directory)
            await elapsed_until(world, lambda: holder.done, 0.6 / 3 + 0.5, "the loss")
            assert isinstance(holder.error, LeaseLost), holder.error
            assert leases[0].lost.is_set()

    host.run(main)


def test_thread_hears_of_it_within_a_renewal(directory: Path) -> None:
    with FileBackend(directory) as backend:
        lock = ThreadDistributedLock(NAME, backend, ttl=0.6)
        with pytest.raises(LeaseLost) as caught, lock as lease:
            unlinked(directory)
            assert lease.lost.wait(0.6 / 3 + 0.5)
            lease.ensure_held()
        assert caught.value.fence == lease.fence


# -- between two steps of one acquire --------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("times", [1, 3, _flock.ROUNDS - 2])
def test_file_that_goes_before_it_is_locked(
    directory: Path, monkeypatch: pytest.MonkeyPatch, way: Way, times: int
) -> None:
    """Whoever locks a file that nobody else finds any more has nothing."""
    try_lock, left = _flock._try_lock, times

    def meanwhile(fd: int) -> bool:
        nonlocal left
        left -= 1
        if left >= 0:
            shutil.rmtree(directory.with_name("old"), ignore_errors=True)
            (directory / "old").unlink(missing_ok=True)
            way(directory)
        return try_lock(fd)

    with FileBackend(directory) as one, FileBackend(directory) as two:
        monkeypatch.setattr(_flock, "_try_lock", meanwhile)
        # Each time may cost two rounds: one to find it, one to make it anew.
        answer: Any = None
        try:
            answer = one.try_acquire(NAME, "a", 1.0)
        except BackendUnavailable:
            assert times * 2 >= _flock.ROUNDS - 1
            answer = one.try_acquire(NAME, "a", 1.0)
        assert isinstance(answer, Grant)
        assert one.renew(NAME, "a", 1.0)
        assert two.try_acquire(NAME, "b", 1.0) == Busy()
        assert descriptors_in(directory) == 2  # each has the one in place


def test_file_that_goes_again_and_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try_lock = _flock._try_lock

    def meanwhile(fd: int) -> bool:
        replaced(directory)
        return try_lock(fd)

    with FileBackend(directory) as one, FileBackend(directory) as two:
        with monkeypatch.context() as patched:
            patched.setattr(_flock, "_try_lock", meanwhile)
            with pytest.raises(BackendUnavailable, match="Deleted or replaced 16 times meanwhile"):
                one.try_acquire(NAME, "a", 1.0)
        assert not one.renew(NAME, "a", 1.0)
        assert isinstance(two.try_acquire(NAME, "b", 1.0), Grant)
        assert not one.release(NAME, "a")


def test_file_that_another_makes_first(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makedirs = os.makedirs

    def meanwhile(name: str, exist_ok: bool) -> None:
        makedirs(name, exist_ok=exist_ok)
        (directory / FILE).touch()

    with FileBackend(directory) as backend:
        backend.try_acquire("another", "a", 1.0)
        monkeypatch.setattr(os, "makedirs", meanwhile)
        assert isinstance(backend.try_acquire(NAME, "a", 1.0), Grant)
