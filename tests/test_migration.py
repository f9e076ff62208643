"""The tables of docs/migration.md: whatever they name exists, there and here."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import threading
from pathlib import Path
from typing import Any

import aiologic
import anyio
import filelock
import pytest
import redis.asyncio.lock
import redis.exceptions
import trio

import backofflock
from backofflock import (
    BackoffLock,
    DistributedLock,
    Lease,
    ThreadBackoffLock,
    ThreadDistributedLock,
)

PAGE = (Path(__file__).parent.parent / "docs" / "migration.md").read_text(encoding="utf-8")

BOTH: dict[str, tuple[Any, Any]] = {
    "asyncio.Lock": (asyncio.Lock, BackoffLock),
    "anyio.Lock": (anyio.Lock, BackoffLock),
    "trio.Lock": (trio.Lock, BackoffLock),
    "threading.Lock": (type(threading.Lock()), ThreadBackoffLock),
    "aiologic": (aiologic.Lock, ThreadBackoffLock),
    "redis-py's lock": (redis.asyncio.lock.Lock, DistributedLock),
    "filelock": (filelock.FileLock, ThreadDistributedLock),
}
MODULES = {"asyncio", "anyio", "trio", "threading", "aiologic"}
ELSEWHERE = {
    "LockError": redis.exceptions,
    "LockNotOwnedError": redis.exceptions,
    "FileLock": filelock,
    "AsyncFileLock": filelock,
    "SoftFileLock": filelock,
    "Timeout": filelock,
}


def sections() -> dict[str, str]:
    """Return what stands below each heading "From ..."."""
    _, *parts = re.split(r"^## From (.*)$", PAGE, flags=re.MULTILINE)
    return {name.strip("`"): text for name, text in zip(parts[::2], parts[1::2], strict=True)}


def test_each_lock_has_a_section() -> None:
    assert list(sections()) == list(BOTH)


@pytest.mark.parametrize("name", BOTH)
def test_all_that_is_named_exists(name: str) -> None:
    text = sections()[name]
    theirs, ours = BOTH[name]
    owners = {"theirs": theirs, "lock": ours, "lease": Lease}
    seen = 0
    for code in re.findall(r"`([^`]+)`", text):
        for owner, attribute in re.findall(r"\b(theirs|lock|lease)\.(\w+)", code):
            assert hasattr(owners[owner], attribute), code
            seen += 1
        for module, attribute in re.findall(r"\b(\w+)\.(\w+)", code):
            if module in MODULES:
                assert hasattr(importlib.import_module(module), attribute), code
        for word in re.findall(r"^([A-Z]\w+)\b", code):
            if word != "RuntimeError" and word != "RuntimeWarning":
                assert hasattr(ELSEWHERE.get(word, backofflock), word), code
    assert seen >= 5


@pytest.mark.parametrize("name", BOTH)
def test_arguments_of_our_calls_are_taken(name: str) -> None:
    """Calls are written with the keywords that the signatures have."""
    _, ours = BOTH[name]
    for call, arguments in re.findall(r"\block\.(\w+)\(([^)`]*)\)", sections()[name]):
        parameters = inspect.signature(getattr(ours, call)).parameters
        for keyword in re.findall(r"(\w+)=", arguments):
            assert keyword in parameters, f"{call}({arguments})"


@pytest.mark.parametrize(
    ("name", "keywords"), [("redis-py's lock", {"ttl", "timeout", "schedule", "renewal"})]
)
def test_constructor_arguments_exist(name: str, keywords: set[str]) -> None:
    assert keywords <= inspect.signature(BOTH[name][1]).parameters.keys()
    for keyword in keywords:
        assert re.search(rf"`(?:\w+\(.*)?\b{keyword}=", sections()[name]), keyword


def test_a_task_that_takes_it_twice_is_told() -> None:
    async def twice() -> None:
        lock = BackoffLock()
        async with lock:
            await lock.acquire()

    with pytest.raises(RuntimeError, match="not reentrant"):
        asyncio.run(twice())


def test_would_block_is_anyio_s_and_not_trio_s() -> None:
    assert issubclass(backofflock.WouldBlock, anyio.WouldBlock)
    assert not issubclass(backofflock.WouldBlock, trio.WouldBlock)
