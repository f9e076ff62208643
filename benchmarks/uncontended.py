"""What taking and releasing a free lock costs, beside the locks it could replace.

Every round times each peer once, in an order drawn anew; a peer is compared with the first of its
kind, the host's own lock, by the ratio of their times within the same round. The table gives the
median time, and the median and the quartiles of these ratios: 2.00 is twice as slow as the host's
own lock. The time includes an iteration of the loop that repeats the operation.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import random
import statistics
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any

import anyio

from backofflock import BackoffLock, ThreadBackoffLock

EPILOG = "example: python benchmarks/uncontended.py --rounds 51 --json"

AsyncLock = Callable[[], AbstractAsyncContextManager[object]]
ThreadLock = Callable[[], AbstractContextManager[object]]


async def enter_in_task(lock: AbstractAsyncContextManager[object], times: int) -> float:
    """Return the seconds that `times` entries take."""
    started = perf_counter()
    for _ in repeat(None, times):
        async with lock:
            pass
    return perf_counter() - started


def enter_in_thread(lock: AbstractContextManager[object], times: int) -> float:
    """Return the seconds that `times` entries take."""
    started = perf_counter()
    for _ in repeat(None, times):
        with lock:
            pass
    return perf_counter() - started


def on_asyncio(lock: AsyncLock, times: int) -> float:
    """Measure in a fresh run of asyncio."""

    async def main() -> float:
        return await enter_in_task(lock(), times)

    return asyncio.run(main())


def on_trio(lock: AsyncLock, times: int) -> float:
    """Measure in a fresh run of trio."""
    import trio

    async def main() -> float:
        return await enter_in_task(lock(), times)

    return trio.run(main)


def in_thread(lock: ThreadLock, times: int) -> float:
    """Measure in this thread, outside of any event loop."""
    return enter_in_thread(lock(), times)


@dataclass
class Peer:
    """A lock on a host, and the seconds per entry it took in each round."""

    host: str
    name: str
    measure: Callable[[int], float]
    times: int = 0
    seconds: list[float] = field(default_factory=list)

    def calibrate(self, sample: float) -> None:
        """Find how many entries take about `sample` seconds; this warms up as well."""
        self.times = 64
        while (took := self.measure(self.times)) < sample / 2:
            self.times *= 2
        self.times = max(1, round(self.times * sample / took))

    def run(self) -> None:
        """Time one sample."""
        self.seconds.append(self.measure(self.times) / self.times)


def optional(package: str, missing: list[str]) -> Any:
    """Return an installed package, or None and a word on it in `missing`."""
    try:
        return importlib.import_module(package)
    except ImportError:
        missing.append(f"{package} is not installed: what needs it is left out")
        return None


def find_peers() -> tuple[list[Peer], list[str]]:
    """Return the peers, the host's own lock first, and a word on each package that is missing."""
    missing: list[str] = []
    trio, aiologic = optional("trio", missing), optional("aiologic", missing)

    shared: dict[str, AsyncLock] = {
        "BackoffLock": BackoffLock,
        "ThreadBackoffLock": ThreadBackoffLock,
        "anyio.Lock": anyio.Lock,
        "anyio.Lock(fast_acquire=True)": partial(anyio.Lock, fast_acquire=True),
    }
    threads: dict[str, ThreadLock] = {
        "threading.Lock": threading.Lock,
        "threading.RLock": threading.RLock,
        "ThreadBackoffLock": ThreadBackoffLock,
    }
    if aiologic is not None:
        shared["aiologic.Lock"] = threads["aiologic.Lock"] = aiologic.Lock

    tasks = {"asyncio.Lock": asyncio.Lock, **shared}
    peers = [Peer("asyncio", name, partial(on_asyncio, lock)) for name, lock in tasks.items()]
    if trio is not None:
        tasks = {"trio.Lock": trio.Lock, **shared}
        peers += [Peer("trio", name, partial(on_trio, lock)) for name, lock in tasks.items()]
    peers += [Peer("thread", name, partial(in_thread, lock)) for name, lock in threads.items()]
    return peers, missing


def environment() -> dict[str, object]:
    """Return what a reader needs to judge the numbers."""
    packages = {}
    for package in ("backofflock", "anyio", "trio", "aiologic"):
        try:
            packages[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            packages[package] = "not installed"
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **packages,
    }


def results(peers: list[Peer]) -> list[dict[str, object]]:
    """Return one record a peer, from the rounds that every peer has finished."""
    rounds = min(len(peer.seconds) for peer in peers)
    own = {peer.host: peer for peer in reversed(peers)}
    rows: list[dict[str, object]] = []
    for peer in peers:
        pairs = zip(peer.seconds[:rounds], own[peer.host].seconds, strict=False)
        ratios = [seconds / base for seconds, base in pairs]
        low, _, high = (
            statistics.quantiles(ratios, n=4, method="inclusive") if rounds > 1 else ratios * 3
        )
        rows.append(
            {
                "host": peer.host,
                "lock": peer.name,
                "rounds": rounds,
                "nanoseconds": round(statistics.median(peer.seconds[:rounds]) * 1e9, 1),
                "ratio": round(statistics.median(ratios), 3),
                "ratio_quartiles": [round(low, 3), round(high, 3)],
            }
        )
    return rows


def print_table(rows: list[dict[str, Any]], facts: dict[str, object]) -> None:
    """Print the results for people."""
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"\n{'host':<8} {'lock':<30} {'ns':>9} {'ratio':>7}  quartiles")
    for row in rows:
        low, high = row["ratio_quartiles"]
        print(
            f"{row['host']:<8} {row['lock']:<30} {row['nanoseconds']:>9.1f} {row['ratio']:>7.2f}"
            f"  {low:.2f} to {high:.2f}"
        )
    print(f"\n{rows[0]['rounds']} rounds; ratio to the host's own lock, within a round")


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep the garbage collector out of the samples."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def measure(peers: list[Peer], rounds: int, sample: float) -> None:
    """Run the rounds, and say on stderr how far they are."""
    for peer in peers:
        peer.calibrate(sample)
    for number in range(1, rounds + 1):
        if sys.stderr.isatty():
            print(f"\rround {number} of {rounds}", end="", file=sys.stderr, flush=True)
        for peer in random.sample(peers, len(peers)):
            with quiet_collector():
                peer.run()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the checked arguments."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0], epilog=EPILOG
    )
    parser.add_argument("--rounds", type=int, default=21, help="samples per lock (default 21)")
    parser.add_argument(
        "--sample", type=float, default=0.02, help="seconds per sample (default 0.02)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds must be 1 or more, not {options.rounds}")
    if not 0.0 < options.sample <= 10.0:
        parser.error(f"--sample must be above 0 and at most 10 seconds, not {options.sample}")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    options = parse(arguments)
    peers, missing = find_peers()
    facts = environment()
    for line in missing:
        print(line, file=sys.stderr)
    status = 0
    try:
        measure(peers, options.rounds, options.sample)
    except KeyboardInterrupt:
        status = 130
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if status:
        print("interrupted: only whole rounds count", file=sys.stderr)
    if all(peer.seconds for peer in peers):
        rows = results(peers)
        if options.json:
            print(json.dumps({"environment": facts, "results": rows}, indent=2))
        else:
            print_table(rows, facts)
    return status


if __name__ == "__main__":
    sys.exit(main())
