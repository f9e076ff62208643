"""Imports point down only, and nothing optional is loaded before it is needed."""

from __future__ import annotations

import ast
import gc
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

import backofflock

ROOT = Path(backofflock.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}

FLOORS = {
    **dict.fromkeys(["_checks", "_schedule_text", "errors", "events", "records", "schedules"], 0),
    **dict.fromkeys(["_key", "_naps", "_waiter", "_contention"], 1),
    **dict.fromkeys(
        ["_attempts", "_done", "_face", "_hosts", "_instrument", "_observers", "tasks", "threads"],
        2,
    ),
    **dict.fromkeys(
        ["leases", "backends", "distributed", "instrumentation", "simulation", "testing"], 3
    ),
    "__init__": 3,  # the public face re-exports all floors below the command line
    **dict.fromkeys(["cli", "__main__"], 4),
}
CLOCKS = {"time", "sched", "asyncio", "threading", "_thread", "concurrent", "multiprocessing"}
OUTSIDE = {"select", "selectors", "signal", "socket", "ssl", "subprocess"}
STANDARD = set(sys.stdlib_module_names)
PURE = STANDARD - CLOCKS - OUTSIDE
ALLOWED = {0: PURE, 1: PURE, 2: STANDARD | {"anyio"}, 3: STANDARD | {"anyio"}}
ALLOWED_TO_ONE = {
    "errors.py": {"anyio"},
    "_hosts/_trio.py": {"trio"},
    "backends/redis.py": {"redis"},
    "backends/_redis_site.py": {"redis"},
    "backends/_redis_tasks.py": {"redis"},
    "backends/_postgres_calls.py": {"psycopg"},
    "backends/_libpq.py": {"psycopg"},
    "backends/_libpq_connecting.py": {"psycopg"},
    "backends/_libpq_errors.py": {"psycopg"},
    "backends/_libpq_settings.py": {"psycopg"},
    "backends/_session_lock.py": {"psycopg"},
    "backends/etcd.py": {"httpx"},
    "backends/_etcd_clients.py": {"httpx"},
    "instrumentation/structlog.py": {"structlog"},
    "instrumentation/prometheus.py": {"prometheus_client"},
    "instrumentation/opentelemetry.py": {"opentelemetry"},
}


@pytest.fixture(scope="module", autouse=True)
def no_garbage() -> None:
    """Collect what earlier tests left: a finalizer that logs breaks a parser of 3.11 at work."""
    gc.collect()


def imports(path: Path, *, typing: bool = True, inner: bool = True) -> Iterator[str]:
    """Yield the absolute names a file imports, with or without those for types or in functions."""
    package = ".".join(["backofflock", *path.relative_to(ROOT).parent.parts])
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        match pending.pop():
            case ast.If(test=ast.Name("TYPE_CHECKING")) if not typing:
                continue
            case ast.FunctionDef() | ast.AsyncFunctionDef() if not inner:
                continue
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                source = resolve_name("." * level + (module or ""), package)
                yield from (f"{source}.{alias.name}" for alias in names)
            case node:
                pending.extend(ast.iter_child_nodes(node))


def floor(name: str) -> int:
    """Return the floor of a file, or of what is imported from this package by an absolute name."""
    part = name.removeprefix("backofflock.").split(".")[0].split("/")[0]
    return FLOORS[part] if part in FLOORS else FLOORS["__init__"]


@pytest.mark.parametrize("file", FILES)
def test_imports_point_down(file: str) -> None:
    assert file.removesuffix(".py").split("/")[0] in FLOORS, "give the new module a floor"
    ours = floor(file.removesuffix(".py"))
    of_ours = [name for name in imports(FILES[file]) if name.split(".")[0] == "backofflock"]
    assert [name for name in of_ours if floor(name) > ours] == []


@pytest.mark.parametrize("file", [file for file in FILES if floor(file.removesuffix(".py")) < 4])
def test_a_floor_uses_no_more_than_it_may(file: str) -> None:
    allowed = ALLOWED[floor(file.removesuffix(".py"))] | ALLOWED_TO_ONE.get(file, set())
    packages = {name.split(".")[0] for name in imports(FILES[file], typing=False)}
    assert packages - allowed - {"backofflock"} == set()


def test_only_the_host_of_trio_imports_trio_and_nobody_that_host_before_trio_runs() -> None:
    direct = {
        file: set(imports(path, typing=False, inner=False))
        for file, path in FILES.items()
        if floor(file.removesuffix(".py")) < 4
    }
    of_trio = {
        file for file, names in direct.items() if any(n.split(".")[0] == "trio" for n in names)
    }
    of_host = {file for file, names in direct.items() if any("._trio" in name for name in names)}
    assert (of_trio, of_host) == ({"_hosts/_trio.py"}, set())


def loaded_by(program: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after `program`."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{show}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


CONTENTION = """
import asyncio, threading
from backofflock import BackoffLock, ThreadBackoffLock

async def contend(lock):
    async with lock:
        await asyncio.sleep(0.001)

async def main():
    for lock in BackoffLock(), ThreadBackoffLock():
        await asyncio.gather(contend(lock), contend(lock))
        assert lock.statistics().contended == 1

asyncio.run(main())
"""


@pytest.mark.parametrize("program", ["import backofflock", CONTENTION])
def test_what_is_not_needed_is_not_loaded(program: str) -> None:
    loaded = loaded_by(program)
    assert "backofflock" in loaded
    backends = {"redis", "psycopg", "httpx"}
    listeners = {"structlog", "prometheus_client", "opentelemetry"}
    others = {"trio", "typer", "rich", "matplotlib", "uvloop"}
    assert loaded & (backends | listeners | others) == set()
