"""Risk: two inside at once; the key lost or doubled; the wrong one releases."""

from __future__ import annotations

import multiprocessing

import pytest

from backofflock import BackoffLock

from .checks import Ledger, assert_at_rest, queued, visitor
from .hosts import HOSTS, TASK_HOSTS, Host, pairs
from .subjects import OVER_FACE, OVER_LOCK, TASKS, THREADS, VARIANTS, Make, Subject
from .worlds import Handle, World


def check_never_two_inside(make: Make, host: Host) -> None:
    contestants, rounds = 6, 8

    async def main(world: World) -> None:
        subject = make()
        ledger = Ledger()
        total = 0

        async def contend(world: World) -> None:
            nonlocal total
            for turn in range(rounds):
                async with world.hold(subject):
                    with ledger.visit("a contestant"):
                        before = total
                        # Others run here, some of them at once and some after a real sleep.
                        await world.sleep(0.0005 * (turn % 2))
                        total = before + 1
                if turn % 3 == 0:
                    await world.sleep(0)

        await world.join([world.spawn(contend) for _ in range(contestants)])
        assert total == len(ledger.visits) == contestants * rounds
        await assert_at_rest(world, subject)

    host.run(main)


def check_error_inside_releases(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        subject = make()

        async def fail(world: World) -> None:
            async with world.hold(subject):
                raise LookupError("inside")

        failing = world.spawn(fail)
        with pytest.raises(LookupError, match="inside"):
            await world.join([failing])
        await assert_at_rest(world, subject)

    host.run(main)


def check_release_of_a_free_lock(make: Make, host: Host) -> None:
    """It is an error that changes nothing: no second key is born."""

    async def main(world: World) -> None:
        subject = make()
        for _ in range(2):
            with pytest.raises(RuntimeError):
                subject.lock.release()
            await assert_at_rest(world, subject)

    host.run(main)


def check_only_the_owner_releases(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        subject = make(name="orders")
        holding = over = False

        async def own(world: World) -> None:
            nonlocal holding
            async with world.hold(subject):
                holding = True
                await world.until(lambda: over, "the thief's failure")

        async def steal(world: World) -> str:
            with pytest.raises(RuntimeError) as caught:
                world.release(subject)
            return str(caught.value)

        owner = world.spawn(own, "the-owner")
        await world.until(lambda: holding, "the owner's acquire")
        (message,) = await world.join([world.spawn(steal, "the-thief")])
        assert all(name in message for name in ("orders", "the-owner", "the-thief")), message
        assert subject.lock.locked()
        info = subject.lock.statistics().owner
        assert info is not None
        assert info.name == "the-owner"
        over = True
        await world.join([owner])
        await assert_at_rest(world, subject)

    host.run(main)


def check_body_that_released_early(make: Make, host: Host) -> None:
    """Another has taken the lock since: the exit must not release it for that one."""

    async def main(world: World) -> None:
        subject = make(name="orders")
        holding = over = False

        async def take(world: World) -> None:
            nonlocal holding
            async with world.hold(subject):
                holding = True
                await world.until(lambda: over, "the end")
                assert subject.lock.locked(), "released by another"

        async def release_early(world: World) -> None:
            async with world.hold(subject):
                world.release(subject)
                takers.append(world.spawn(take, "the-taker"))
                await world.until(lambda: holding, "the other's acquire")

        takers: list[Handle[None]] = []
        early = world.spawn(release_early, "the-early-one")
        with pytest.raises(RuntimeError, match=r"'orders'.*the-taker"):
            await world.join([early])
        assert subject.lock.locked()
        over = True
        await world.join(takers)
        await assert_at_rest(world, subject)

    host.run(main)


def check_the_owner_cannot_reacquire(make: Make, host: Host) -> None:
    async def main(world: World) -> None:
        subject = make(name="orders")
        lock = subject.lock
        assert isinstance(lock, BackoffLock)

        async def step() -> None:
            async for _ in lock.attempts():
                pass

        async def own(world: World) -> list[str]:
            messages = []
            async with lock:
                for acquire in (lock.acquire, lock.__aenter__, step):
                    with pytest.raises(RuntimeError) as caught:
                        await acquire()
                    messages.append(str(caught.value))
                    assert lock.locked()
                    assert subject.waiting() == 0
                with pytest.raises(RuntimeError) as caught:
                    lock.acquire_nowait()
                messages.append(str(caught.value))
            return messages

        for message in (await world.join([world.spawn(own, "the-owner")]))[0]:
            assert "orders" in message, message
            assert "the-owner" in message, message
        await assert_at_rest(world, subject)

    host.run(main)


def check_anybody_may_release(make: Make, host: Host) -> None:
    """As with `threading.Lock`; and the waiters get on with it."""

    async def main(world: World) -> None:
        subject = make()
        ledger = Ledger()

        async def release(world: World) -> None:
            world.release(subject)

        for _ in range(4):  # so that in the mixed worlds all take part
            assert world.try_once(subject)
            waiter = world.spawn(visitor(subject, ledger))
            await queued(world, subject, 1)
            await world.join([world.spawn(release)])
            await world.join([waiter])
        await assert_at_rest(world, subject)

    host.run(main)


@pairs(foreign=True)
def test_never_two_inside(make: Make, host: Host) -> None:
    check_never_two_inside(make, host)


def make_over_a_lock_of_processes(**options: object) -> Subject:
    over = multiprocessing.get_context("spawn").Lock()
    return Subject(BackoffLock(over=over, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("host", TASK_HOSTS, ids=lambda host: host.name)
def test_never_two_inside_over_a_lock_of_processes(host: Host) -> None:
    if host.missing:
        pytest.skip(host.missing)
    check_never_two_inside(make_over_a_lock_of_processes, host)


@pairs(foreign=True)
def test_error_inside_releases(make: Make, host: Host) -> None:
    check_error_inside_releases(make, host)


@pairs(VARIANTS, TASK_HOSTS)
def test_release_of_a_free_lock(make: Make, host: Host) -> None:
    check_release_of_a_free_lock(make, host)


@pairs([THREADS], [host for host in HOSTS if host.with_threads])
def test_release_of_a_free_lock_by_a_thread(make: Make, host: Host) -> None:
    check_release_of_a_free_lock(make, host)


@pairs([TASKS, OVER_LOCK, OVER_FACE], TASK_HOSTS)
def test_only_the_owner_releases(make: Make, host: Host) -> None:
    check_only_the_owner_releases(make, host)


@pairs([TASKS, OVER_LOCK, OVER_FACE], TASK_HOSTS)
def test_body_that_released_early(make: Make, host: Host) -> None:
    check_body_that_released_early(make, host)


@pairs([TASKS, OVER_LOCK, OVER_FACE], TASK_HOSTS)
def test_the_owner_cannot_reacquire(make: Make, host: Host) -> None:
    check_the_owner_cannot_reacquire(make, host)


@pairs([variant for variant in VARIANTS if variant.for_threads], HOSTS)
def test_anybody_may_release(make: Make, host: Host) -> None:
    check_anybody_may_release(make, host)
