"""`DONE`: what entering a free lock and leaving it give to await."""

from __future__ import annotations

import asyncio
import inspect
import threading
import warnings

import anyio
import pytest

from backofflock import BackoffLock, ThreadBackoffLock
from backofflock._done import DONE

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
FACES = pytest.mark.parametrize("face", [BackoffLock, ThreadBackoffLock])


@BACKENDS
def test_it_can_be_awaited_again_and_again(backend: str) -> None:
    async def main() -> int:
        for _ in range(3):
            await DONE
        return 3

    for _ in range(2):
        assert anyio.run(main, backend=backend) == 3


def test_it_can_be_awaited_on_many_loops_at_once() -> None:
    errors: list[BaseException] = []
    ready = threading.Barrier(4)

    async def main() -> None:
        for _ in range(1_000):
            await DONE

    def run() -> None:
        ready.wait()
        try:
            asyncio.run(main())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_to_await_it_gives_no_turn_to_others() -> None:
    async def main() -> list[str]:
        ran: list[str] = []
        asyncio.get_running_loop().call_soon(ran.append, "another")
        await DONE
        return list(ran)

    assert asyncio.run(main()) == []


@FACES
def test_entering_a_free_lock_and_leaving_it_make_no_coroutine(
    face: type[BackoffLock | ThreadBackoffLock],
) -> None:
    async def main() -> None:
        lock = face()
        for _ in range(2):
            entered: object = lock.__aenter__()
            assert entered is DONE
            assert lock.locked()
            assert inspect.isawaitable(entered)
            left: object = lock.__aexit__(None, None, None)
            assert left is DONE
            assert not lock.locked()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())


def test_a_task_that_runs_what_another_called_waits_in_its_own_name() -> None:
    async def main() -> None:
        lock = BackoffLock()
        async with lock:
            task = asyncio.create_task(lock.__aenter__(), name="the runner")
            await asyncio.sleep(0)
            assert lock.statistics().tasks_waiting == 1
        await task
        owner = lock.statistics().owner
        assert owner is not None
        assert owner.name == "the runner"

    asyncio.run(main())
