"""Integrations whose library is not there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import backofflock.instrumentation as listeners
from backofflock.instrumentation._shared import needing

WITHOUT = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""
PACKAGES = {
    "structlog": "structlog",
    "prometheus": "prometheus_client",
    "opentelemetry": "opentelemetry",
}


def python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("extra", PACKAGES)
def test_without_its_library_the_import_names_the_extra(extra: str) -> None:
    package = PACKAGES[extra]
    program = f"""
try:
    import backofflock.instrumentation.{extra}
except ModuleNotFoundError as error:
    print(error, error.name.partition(".")[0], type(error.__cause__).__name__, sep="|")
"""
    message, name, cause = python(WITHOUT.format(packages=[package]) + program).split("|")
    assert message == (
        f"backofflock.instrumentation.{extra} needs the package {package}: "
        f"pip install 'backofflock[{extra}]'"
    )
    assert (name, cause) == (package, "ModuleNotFoundError")


def test_a_library_that_lacks_something_itself_says_so() -> None:
    with (
        pytest.raises(ModuleNotFoundError, match="No module named 'its_own_need'"),
        needing("structlog", "structlog"),
    ):
        raise ModuleNotFoundError("No module named 'its_own_need'", name="its_own_need")


def test_without_any_library_locks_work_and_logging_listens() -> None:
    program = """
import logging
from backofflock import ThreadBackoffLock, instrument
from backofflock.instrumentation.logging import LoggingListener

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(message)s")
with instrument(LoggingListener()), ThreadBackoffLock(name="orders"):
    pass
"""
    packages = [*PACKAGES.values(), "redis", "psycopg", "httpx", "typer", "rich", "trio"]
    shown = python(WITHOUT.format(packages=packages) + program)
    assert shown.startswith("orders was held for 0.")


def test_to_listen_loads_no_integration() -> None:
    program = """
import sys
from backofflock import ThreadBackoffLock, instrument
import backofflock.instrumentation
with instrument(print), ThreadBackoffLock():
    pass
print(*(name for name in sys.modules if "prometheus" in name or "structlog" in name
        or "telemetry" in name or name.startswith("backofflock.instrumentation.")))
"""
    assert python(program).splitlines()[1:] == [""] or python(program).count("\n") == 0


def test_the_table_names_each_module_and_extra() -> None:
    table = listeners.__doc__ or ""
    for extra in PACKAGES:
        assert f"``{extra}``" in table
        assert f"``backofflock[{extra}]``" in table
