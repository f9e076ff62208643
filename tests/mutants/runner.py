"""Applies one fault to a copy of the project, and runs the tests there that must find it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

__all__ = [
    "ROOT",
    "Mutant",
    "MutantError",
    "Verdict",
    "check",
    "control",
    "copy_of_the_project",
    "run_tests",
    "try_mutant",
]

ROOT = Path(__file__).resolve().parents[2]
"""The project."""

PACKAGE = Path("src", "backofflock")

TEST_LIMIT = 30
"""Seconds a test may take; the slowest named one takes about ten, when it fails."""

RUN_LIMIT = 90
"""Seconds all tests of a mutant may take: for a hang that the limit of the test does not end."""

CONTROL_LIMIT = 300


class MutantError(Exception):
    """Nothing is shown: the text of a mutant does not fit, or its tests do not run as they should.

    Neither is a fault found.
    """


@dataclass(frozen=True)
class Mutant:
    """One fault: in `file`, a path below the package, `new` stands in the place of `old`."""

    name: str
    file: str
    fault: str
    """What is wrong then, in a sentence."""
    old: str
    new: str
    killers: tuple[str, ...]
    """Node ids of the tests that must find it, the cheapest first."""

    def mutate(self, source: str) -> str:
        """Return `source` with the fault in it; MutantError unless the fault fits once."""
        places = source.count(self.old)
        if places != 1:
            raise MutantError(f"{self.name}: its old text is {places} times in {self.file}, not 1")
        mutated = source.replace(self.old, self.new)
        try:
            compile(mutated, self.file, "exec")
        except SyntaxError as error:
            raise MutantError(f"{self.name}: with it, {self.file} is not Python") from error
        return mutated

    def apply(self, root: Path) -> None:
        """Put the fault into the project at `root`."""
        path = root / PACKAGE / self.file
        path.write_text(self.mutate(path.read_text("utf-8")), "utf-8")


@dataclass(frozen=True)
class Verdict:
    """What became of the tests: the one that failed first, or None; and how long they took."""

    failed: str | None
    seconds: float
    timed_out: bool = False
    passed: tuple[str, ...] = ()

    @property
    def killed(self) -> bool:
        """Whether the fault was found."""
        return self.failed is not None


@contextmanager
def copy_of_the_project() -> Iterator[Path]:
    """Give a copy of what the tests need, without bytecode: it might be that of the right text."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        root = Path(place).resolve()
        shutil.copy(ROOT / "pyproject.toml", root)
        for part in ("src", "tests"):
            shutil.copytree(
                ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", ".*")
            )
        yield root


def run_tests(root: Path, tests: Sequence[str], limit: float = RUN_LIMIT) -> Verdict:
    """Run tests of the project at `root` until one fails; MutantError if they cannot be run."""
    testimony = root / "testimony.jsonl"
    testimony.write_text("")
    # In this order: a plugin is loaded before the options that it brings are read.
    command = [sys.executable, "-m", "pytest", "-p", "tests.mutants.witness"]
    command += [f"--testimony={testimony}", "-x", "-q", "-p", "no:cacheprovider", "--no-header"]
    command += [f"--timeout={TEST_LIMIT}", *tests]
    # Neither the options nor the coverage of a run that this one is a part of are for the copy.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COVERAGE", "PYTEST", "PYTHONPATH"))
    }
    began = monotonic()
    status: int | None
    with (root / "output.txt").open("w+", encoding="utf-8") as output:
        try:
            status = subprocess.run(
                command,
                cwd=root,
                env={
                    **inherited,
                    "PYTHONPATH": str(root / "src"),
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=limit,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = None
        seconds = monotonic() - began
        output.seek(0)
        said = output.read()
    events = [json.loads(line) for line in testimony.read_text("utf-8").splitlines()]
    return _judge(status, events, seconds, said)


def _judge(
    status: int | None, events: Iterable[dict[str, Any]], seconds: float, said: str
) -> Verdict:
    """Return the verdict on a run that ended with `status`, None if it did not end."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_kind.setdefault(event["event"], []).append(event)
    failed, started = by_kind.get("failed", []), by_kind.get("started", [])
    passed = tuple(event["test"] for event in by_kind.get("passed", []))
    if "broken" not in by_kind:
        if status == 1 and failed:
            return Verdict(failed[0]["test"], seconds, failed[0]["timed_out"], passed)
        if status is None and started:
            return Verdict(started[-1]["test"], seconds, timed_out=True, passed=passed)
        if status == 0 and passed:  # not skipped, all of them
            return Verdict(None, seconds, passed=passed)
    raise MutantError(f"the tests did not run (status {status}):\n{said[-4000:]}")


def try_mutant(mutant: Mutant) -> Verdict:
    """Run the tests of a mutant in a copy that has its fault."""
    with copy_of_the_project() as root:
        mutant.apply(root)
        return run_tests(root, mutant.killers)


def check(mutants: Iterable[Mutant]) -> None:
    """Raise MutantError unless every fault fits the source as it stands; names all that do not."""
    errors = []
    for mutant in mutants:
        try:
            mutant.mutate((ROOT / PACKAGE / mutant.file).read_text("utf-8"))
        except MutantError as error:
            errors.append(str(error))
    if errors:
        raise MutantError("\n".join(errors))


def control(mutants: Iterable[Mutant]) -> Verdict:
    """Run the tests of all mutants in a copy without a fault: they must pass, every one of them.

    A test that fails of something else would seem to find any fault.
    """
    tests = sorted({test for mutant in mutants for test in mutant.killers})
    with copy_of_the_project() as root:
        verdict = run_tests(root, tests, CONTROL_LIMIT)
    if verdict.failed is not None:
        raise MutantError(f"without any fault, {verdict.failed} fails")
    passed = {test.partition("[")[0] for test in verdict.passed} | set(verdict.passed)
    idle = [test for test in tests if test not in passed]
    if idle:
        raise MutantError(f"these did not run: {', '.join(idle)}")
    return verdict
