"""The package as it is shipped: version, metadata, files in the wheel, and a documented face."""

from __future__ import annotations

import configparser
import importlib.metadata
import importlib.resources
import inspect
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import backofflock

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CLASSES = [
    value for name in backofflock.__all__ if isinstance(value := getattr(backofflock, name), type)
]
METHODS = [
    pytest.param(cls, name, id=f"{cls.__name__}.{name}")
    for cls in CLASSES
    for name, member in inspect.getmembers(cls)
    if not name.startswith("_")
    and (inspect.isroutine(member) or isinstance(member, property))
    and any(
        name in vars(base) and base.__module__.startswith("backofflock") for base in cls.__mro__
    )
]

LIST_WHAT_IS_LOADED = """
import sys
before = set(sys.modules)  # a coverage measurement has loaded itself
import backofflock
print(*set(sys.modules) - before)
"""

LIST_WHAT_IS_LOADED_BEYOND_ASYNCIO_AND_ANYIO = f"""
import asyncio, anyio
anyio.TaskInfo, anyio.WouldBlock, anyio.to_thread
{LIST_WHAT_IS_LOADED}"""


def _python(*arguments: str | Path, cwd: Path = ROOT) -> str:
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


# -- version and metadata --------------------------------------------------------------------------


def test_one_version_everywhere() -> None:
    assert PROJECT["version"] == backofflock.__version__
    assert importlib.metadata.version("backofflock") == backofflock.__version__


def test_the_changelog_leads_with_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d\S*)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert releases[0] == backofflock.__version__
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", changelog, re.MULTILINE)) <= kinds


def test_anyio_is_the_only_runtime_dependency() -> None:
    required = importlib.metadata.requires("backofflock") or []
    always = [re.split(r"[^\w.-]", line)[0] for line in required if "extra ==" not in line]
    assert always == ["anyio"]


def test_importing_it_loads_no_optional_package() -> None:
    optional = {
        re.split(r"[^\w.-]", line)[0]
        for extra in PROJECT["optional-dependencies"].values()
        for line in extra
    } - {"backofflock"}
    assert {"trio", "typer", "rich"} <= optional
    loaded = _python("-c", LIST_WHAT_IS_LOADED).split()
    assert "backofflock.threads" in loaded
    assert optional.isdisjoint(loaded)


@pytest.mark.parametrize(
    "part",
    [
        "_instrument",
        "_schedule_text",
        "backends",
        "cli",
        "distributed",
        "events",
        "instrumentation",
        "leases",
        "simulation",
        "testing",
    ],
)
def test_importing_it_loads_no_part_that_most_programs_do_not_need(part: str) -> None:
    loaded = _python("-c", LIST_WHAT_IS_LOADED).split()
    assert {name for name in loaded if name.startswith(f"backofflock.{part}")} == set()


def test_importing_it_loads_little_of_the_standard_library() -> None:
    loaded = _python("-c", LIST_WHAT_IS_LOADED_BEYOND_ASYNCIO_AND_ANYIO).split()
    ours = {name.partition(".")[0] for name in loaded} & set(sys.stdlib_module_names)
    # `random` brings some of them, another of them in each version of Python.
    little = {"bisect", "copy", "dataclasses", "datetime", "hashlib", "random", "statistics"}
    assert {name for name in ours if not name.startswith("_")} - little == set()


def test_what_is_loaded_on_demand_is_the_same_object_each_time() -> None:
    program = """
import backofflock, sys
assert "backofflock.leases" not in sys.modules
from backofflock import Lease, connect
import backofflock.backends, backofflock.leases
assert Lease is backofflock.Lease is backofflock.leases.Lease
assert connect is backofflock.connect is backofflock.backends.connect
"""
    _python("-c", program)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'backofflock' has no attribute 'BackofLock'"):
        backofflock.BackofLock  # type: ignore[attr-defined]  # noqa: B018
    assert set(backofflock.__all__) <= set(dir(backofflock))


# -- files -----------------------------------------------------------------------------------------


def test_the_installed_package_is_typed() -> None:
    assert importlib.resources.files("backofflock").joinpath("py.typed").is_file()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and the source distribution, as an installer does."""
    target = tmp_path_factory.mktemp("built")
    _python("-m", "hatchling", "build", "-d", target)
    return target


def test_the_wheel_ships_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    files = {name for name in shipped if ".dist-info/" not in name}
    source = ROOT / "src"
    here = source.rglob("backofflock/**/*.py")
    assert "backofflock/py.typed" in files
    assert files == {
        "backofflock/py.typed",
        "pytest_backofflock.py",
        *(path.relative_to(source).as_posix() for path in here),
    }
    assert any(name.endswith("/licenses/LICENSE") for name in shipped)


def test_the_wheel_has_a_command_and_a_plugin_of_pytest(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert _entry_points(wheel) == {
        "console_scripts": {"backofflock": "backofflock.cli:main"},
        "pytest11": {"backofflock": "pytest_backofflock"},
    }


def _entry_points(wheel: Path) -> dict[str, dict[str, str]]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        text = archive.read(name).decode()
    found = configparser.ConfigParser(delimiters="=")
    found.read_string(text)
    return {section: dict(found[section]) for section in found.sections()}


def test_the_source_distribution_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    (wheel,) = built.glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    _python("-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=source)
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {info.filename: info.CRC for info in one.infolist()} == {
            info.filename: info.CRC for info in other.infolist()
        }


def test_the_links_of_the_readme_lead_somewhere_in_the_source_distribution(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = set(re.findall(r"\]\(([^)\s#]+)[^)]*\)", readme))
    inside = {link for link in links if not link.startswith("https://")}
    assert inside
    assert inside - shipped == set()


def test_the_source_distribution_can_be_tested(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".gitignore", ".ci/run"}
    wanted |= {"tests/test_package.py", "benchmarks/__main__.py", "src/backofflock/py.typed"}
    assert wanted - shipped == set()


# -- the public face -------------------------------------------------------------------------------


def test_public_names_are_sorted_and_unique() -> None:
    assert len(set(backofflock.__all__)) == len(backofflock.__all__)
    constants = [name for name in backofflock.__all__ if name.isupper()]
    assert backofflock.__all__ == sorted(constants) + sorted(
        set(backofflock.__all__) - set(constants)
    )


def test_public_names_exist_and_the_others_are_modules() -> None:
    missing = [name for name in backofflock.__all__ if not hasattr(backofflock, name)]
    assert missing == []
    public = {name for name in vars(backofflock) if not name.startswith("_")}
    imported = {"annotations", "MappingProxyType", "TYPE_CHECKING"}
    undeclared = public - set(backofflock.__all__) - imported
    modules = {name for name in undeclared if inspect.ismodule(getattr(backofflock, name))}
    assert undeclared == modules


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_public_class_says_what_it_gives(cls: type) -> None:
    text = cls.__doc__
    assert text is not None
    # A dataclass without a docstring is given its signature for one.
    assert not text.startswith(f"{cls.__name__}(")
    assert text.strip().partition("\n")[0].endswith((".", ":"))


@pytest.mark.parametrize(("cls", "name"), METHODS)
def test_each_public_method_says_what_it_gives(cls: type, name: str) -> None:
    documented = [
        vars(base)[name].__doc__
        for base in cls.__mro__
        if name in vars(base) and base.__module__.startswith("backofflock")
    ]
    text = next(filter(None, documented), "")
    assert text.strip().partition("\n")[0].endswith((".", ":"))


def test_the_methods_of_both_faces_are_among_those_checked() -> None:
    checked = {param.id for param in METHODS}
    for method in ("acquire", "acquire_nowait", "release", "locked", "statistics", "attempts"):
        assert f"BackoffLock.{method}" in checked
        assert f"ThreadBackoffLock.{method}" in checked


def test_each_argument_of_the_constructor_is_explained() -> None:
    text = backofflock.BackoffLock.__doc__ or ""
    parameters = inspect.signature(backofflock.BackoffLock).parameters
    assert "schedule" in parameters
    assert [name for name in parameters if f"`{name}`" not in text] == []
    # The other face has the same ones and says so.
    assert list(inspect.signature(backofflock.ThreadBackoffLock).parameters) == list(parameters)
    assert "arguments are those of `BackoffLock`" in (backofflock.ThreadBackoffLock.__doc__ or "")


@pytest.mark.parametrize(
    "error",
    [
        backofflock.AcquireTimeout("lock", attempts=1, waited=0.5, reason="timeout=0.5"),
        backofflock.WouldBlock("lock", waiters=1),
        backofflock.OwnerDied("lock", owner="Task-1", attempts=1, waited=0.5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_each_fact_an_error_carries_is_explained(error: backofflock.BackoffLockError) -> None:
    text = type(error).__doc__ or ""
    assert vars(error)
    assert [fact for fact in vars(error) if f"`{fact}`" not in text] == []
