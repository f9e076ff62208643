"""The README keeps its word: its snippets run, its commands are CI's, its links and names exist."""

from __future__ import annotations

import builtins
import importlib.util
import inspect
import keyword
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest

import backofflock

from .snippets import FENCE, Snippet, assert_it_prints_what_is_shown, snippets

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = ROOT / ".ci" / "run"

PROSE = FENCE.sub("", README)
SNIPPETS = snippets(README)
PYTHON = [snippet for snippet in SNIPPETS if snippet.language == "python"]
COMMANDS = [snippet.code for snippet in SNIPPETS if snippet.language == "bash"]
SETUPS = [command for command in COMMANDS if "venv" in command.split()]
LOOKS = [command for command in COMMANDS if command.startswith("backofflock ")]


def _run(
    *command: str | Path, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=90,
        check=False,
    )


# -- snippets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("snippet", PYTHON, ids=lambda snippet: snippet.heading)
def test_each_snippet_runs_alone_and_prints_what_is_shown(snippet: Snippet, tmp_path: Path) -> None:
    assert_it_prints_what_is_shown(snippet, tmp_path)


@pytest.mark.parametrize(
    "program",
    [
        "In an asyncio service",
        "In a trio or anyio program",
        "In a program that mixes threads and tasks",
    ],
)
def test_each_kind_of_program_has_a_short_example(program: str) -> None:
    (example,) = [snippet for snippet in PYTHON if snippet.heading == program]
    statements = [line for line in example.code.splitlines() if line.strip()]
    imports = [line for line in statements if line.startswith(("import ", "from "))]
    assert len(statements) - len(imports) <= 16
    assert example.shown


def test_no_other_block_goes_unchecked() -> None:
    # Output belongs to the snippet above it; what stands alone is the formula.
    shown = {snippet.shown for snippet in PYTHON}
    alone = [
        snippet.code
        for snippet in SNIPPETS
        if snippet.language not in ("python", "bash") and snippet.code not in shown
    ]
    assert alone == ["utilisation = 1 / (1 + c / (N * h))\n"]
    assert alone[0].strip() in (backofflock.schedules.__doc__ or "")


# -- commands --------------------------------------------------------------------------------------


def test_there_are_two_commands_from_clone_to_result() -> None:
    assert len(SETUPS) == 2
    demo, tests = SETUPS
    assert demo.endswith("/backofflock demo\n")
    assert tests.endswith("/pytest\n")


@pytest.mark.parametrize("command", SETUPS, ids=("demo", "tests"))
def test_each_command_is_one_line_that_makes_its_own_environment(command: str) -> None:
    assert command.count("\n") == 1
    parts = re.fullmatch(
        r"python3 -m venv (?P<venv>\.venv\S*)"
        r' && (?P=venv)/bin/pip install -q (-e )?"\.\[(?P<extra>\w+)\]"'
        r" && (?P=venv)/bin/\w+( demo)?\n",
        command,
    )
    assert parts is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert parts["extra"] in project["optional-dependencies"]
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ".venv*/" in ignored


def test_the_two_environments_are_kept_apart() -> None:
    environments = {command.split()[3] for command in SETUPS}
    assert len(environments) == 2


needs_bash = pytest.mark.skipif(
    shutil.which("bash") is None or os.name == "nt", reason=".ci/run is a bash script"
)


@needs_bash
def test_ci_calls_the_commands_of_the_readme() -> None:
    plan = _run("bash", CI, "--plan", cwd=ROOT)
    assert plan.returncode == 0, plan.stderr
    for command in SETUPS:
        assert f"$ {command}" in plan.stdout
    # The same on other Pythons: what differs is the interpreter and the place of the environment,
    # and that the last run measures coverage.
    own = SETUPS[1].split()[3]
    runs = [line for line in plan.stdout.splitlines() if line.endswith("pytest")]
    for run in runs:
        _, interpreter, _, _, environment, *_ = run.split()
        same = run.replace(environment, own).replace(interpreter, "python3", 1)
        assert same.replace("coverage run -m pytest", "pytest") == f"$ {SETUPS[1].strip()}"
    assert [run.endswith("coverage run -m pytest") for run in runs][-2:] == [False, True]


@needs_bash
def test_ci_follows_the_readme_and_fails_without_its_command(tmp_path: Path) -> None:
    copy = tmp_path / "a clone" / ".ci" / "run"
    copy.parent.mkdir(parents=True)
    shutil.copy(CI, copy)
    readme = copy.parent.parent / "README.md"

    readme.write_text(README.replace("/pytest\n", "/pytest --changed\n"), encoding="utf-8")
    plan = _run("bash", copy, "--plan", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    assert "bin/pytest --changed\n" in plan.stdout
    assert "bin/coverage run -m pytest --changed\n" in plan.stdout
    assert "pytest\n" not in plan.stdout

    readme.write_text("# backofflock\n", encoding="utf-8")
    plan = _run("bash", copy, "--plan", cwd=tmp_path)
    assert plan.returncode == 2
    assert "README.md" in plan.stderr


@needs_bash
def test_ci_can_be_run_by_name() -> None:
    assert os.access(CI, os.X_OK)


def test_the_benchmark_runs() -> None:
    (command,) = [command for command in COMMANDS if command not in [*SETUPS, *LOOKS]]
    install, _, measure = command.partition(" && ")
    environment = SETUPS[1].split()[3]
    assert install == f'{environment}/bin/pip install -q -e ".[bench]"'
    interpreter, *arguments = measure.split()
    assert interpreter == f"{environment}/bin/python"
    brief = ["--rounds", "1", "--only", "uncontended"]
    result = _run(sys.executable, *arguments, *brief, cwd=ROOT)
    # 1 is a bar that was missed, which one round on a busy machine may well do.
    assert result.returncode in {0, 1}, result.stderr
    for lock in ("BackoffLock", "asyncio.Lock", "trio.Lock", "threading.Lock"):
        assert lock in result.stdout


@pytest.mark.untraced  # the search of `--suggest` takes seven times as long under coverage
def test_the_commands_that_show_schedules_run(tmp_path: Path) -> None:
    lines = [line for command in LOOKS for line in command.splitlines()]
    assert [line.split()[1] for line in lines] == ["schedule", "simulate"]
    for line in lines:
        result = _run(sys.executable, "-m", *shlex.split(line), cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert "exponential" in result.stdout
    assert (tmp_path / "chart.svg").exists()


# -- links and names -------------------------------------------------------------------------------


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", PROSE)
    assert links
    broken = [link for link in links if not (ROOT / link).is_file()]
    assert broken == []


def _vocabulary() -> set[str]:
    """Return every name a reader can come across in the public face."""
    names = {*backofflock.__all__, *dir(builtins), *keyword.kwlist}
    for name in backofflock.__all__:
        value = getattr(backofflock, name)
        names.update(dir(value))
        if isinstance(value, type):
            with suppress(ValueError):  # an error without a constructor of its own has none
                names.update(inspect.signature(value).parameters)
    return names


def _is_known(name: str, vocabulary: set[str]) -> bool:
    if "." not in name:
        return name in vocabulary or importlib.util.find_spec(name) is not None
    for place in (name, f"backofflock:{name}"):
        with suppress(ImportError, AttributeError):
            pkgutil.resolve_name(place)
            return True
    return False


def test_every_name_in_the_prose_exists() -> None:
    spans = re.findall(r"`([^`]+)`", PROSE)
    # The head of a call or an argument counts: `attempts()`, `over=`, `Exponential(0.01, cap=1.0)`.
    found = [re.match(r"([A-Za-z_][\w.]*)(?=$|\(|=)", span) for span in spans]
    names = {match[1] for match in found if match is not None}
    vocabulary = _vocabulary()
    assert {name for name in names if not _is_known(name, vocabulary)} == set()
    assert {"BackoffLock", "fair_after", "attempts", "acquire_nowait"} <= names


def test_the_schedule_table_names_every_family_and_its_calls_work() -> None:
    rows = re.findall(r"^\| `(\w+)(\([^`]*\)[^`]*)` \|", README, re.MULTILINE)
    families = {
        name
        for name in backofflock.schedules.__all__
        if isinstance(value := getattr(backofflock.schedules, name), type)
        and issubclass(value, backofflock.Schedule)
        and not inspect.isabstract(value)
    }
    assert {name for name, _ in rows} == families
    for name, call in rows:
        schedule = eval(name + call, vars(backofflock).copy())
        delays = list(schedule.take(10).delays())
        assert delays
        assert all(0.0 <= delay <= 1.0 for delay in delays)


PERFORMANCE = README.partition("## Performance")[2].partition("\n## ")[0]


def test_the_performance_section_quotes_the_results_of_the_fleet() -> None:
    results = (ROOT / "benchmarks" / "fleet" / "RESULTS.md").read_text(encoding="utf-8")
    said = re.search(r"(\d+) were\s+reached, (\d+) missed", PERFORMANCE)
    assert said is not None
    assert f"\n{said[1]} reached, {said[2]} missed, 0 not measured." in results
    for metric in ("throughput", "requests per acquisition"):
        start = re.escape(f"| redis/asyncio/100/empty | DistributedLock | {metric} | ")
        row = rf"^{start}.* redis\.asyncio\.lock\.Lock \| ([\d.]+) \|"
        figure = re.search(row, results, re.MULTILINE)
        assert figure is not None
        assert f"{figure[1]} times" in PERFORMANCE


def test_the_performance_section_quotes_the_results_and_says_what_was_missed() -> None:
    section = PERFORMANCE
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    quoted = [row.removesuffix(" |").removesuffix(" (missed)") for row in rows]
    assert len(quoted) > 10
    for row in quoted:
        assert f"\n{row} | " in results, row
    missed = {line for line in results.splitlines() if line.endswith("| **missed** |")}
    said = {row for row in rows if row.endswith(" (missed) |")}
    assert len(said) == len(missed)
    limits = dict(re.findall(r"for threads/(\d+)/cpu, (\S+) \(", results))
    assert f"got {limits['2']}, {limits['8']} and {limits['32']} times" in section
