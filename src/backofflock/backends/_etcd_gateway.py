"""How etcd is asked, by the JSON gateway of its members: generators that neither send nor wait.

They yield a `Request` and are sent its `Response`, or thrown `Unanswered`.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from ..errors import BackendRefused, BackendUnavailable

__all__ = ["Cluster", "Request", "Response", "Steps", "Unanswered"]

T = TypeVar("T")

OK, UNKNOWN, MISSING, PRECONDITION, UNAVAILABLE, LOGIN = 0, 2, 5, 9, 14, 16
"""Codes of gRPC that matter one by one."""

PASSING = frozenset({1, UNKNOWN, 4, 8, 10, 13, UNAVAILABLE})
"""Those that leave open what became of a request, or that are another answer at another time."""

LASTING = ("space exceeded", "larger than max")
"""What has the code of a busy server, but stays: the quota is used up, or a name is too long."""

OLD_LOGIN = ("revision of auth store is old", "user name is empty")
"""What etcd says, beside the code `LOGIN`, to one who has to log in again."""


class Request(NamedTuple):
    """What is to be sent, by POST."""

    url: str
    content: bytes
    headers: dict[str, str]


class Response(NamedTuple):
    """What came back."""

    status: int
    text: str


class Unanswered(Exception):
    """A request was not answered; its cause is the client's error."""

    def __init__(self, reason: str, was_sent: bool, is_hopeless: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.was_sent = was_sent
        """False only if it was certainly not."""
        self.is_hopeless = is_hopeless
        """Whether the next one would fare no better."""


Steps: TypeAlias = Generator[Request, Response, T]


class Cluster:
    """Where etcd is and how it is asked: another member after a failure, a new login for an old."""

    def __init__(self, urls: list[str], label: str, login: tuple[str, str] | None) -> None:
        self.label = label
        self._urls = urls
        self._at = 0
        self._login = login
        self._pass: str | None = None
        """What etcd gave for the login; empty where it wants none."""

    def ask(self, call: str, path: str, body: dict[str, Any]) -> Steps[dict[str, Any]]:
        """Return the answer of etcd, an empty one if it does not know the lease.

        Raises `BackendUnavailable` and `BackendRefused`, which name `call`.
        """
        logs_in_again = self._login is not None
        while True:
            if self._login is not None and self._pass is None:
                yield from self._log_in(call)
            shown = self._pass
            code, message, answer = yield from self._post(call, path, body)
            if code == OK:
                return answer
            if code == MISSING:
                return {}
            is_old = code == LOGIN or any(text in message for text in OLD_LOGIN)
            if not is_old or not logs_in_again:
                raise self.failure(call, code, message)
            logs_in_again = False
            if self._pass == shown:  # else another call has done it meanwhile
                self._pass = None

    def failure(self, call: str, code: int, message: str) -> BackendUnavailable | BackendRefused:
        """Return the error for what etcd said."""
        passes = code in PASSING and not any(text in message for text in LASTING)
        return (BackendUnavailable if passes else BackendRefused)(self.label, call, message)

    def _log_in(self, call: str) -> Steps[None]:
        assert self._login is not None
        name, password = self._login
        login = {"name": name, "password": password}
        code, message, answer = yield from self._post(call, "auth/authenticate", login)
        if code == PRECONDITION and "not enabled" in message:
            self._pass = ""
        elif code != OK:
            raise self.failure(call, code, message)
        else:
            self._pass = str(answer["token"])

    def _post(
        self, call: str, path: str, body: dict[str, Any]
    ) -> Steps[tuple[int, str, dict[str, Any]]]:
        content = json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        if self._pass:
            headers["authorization"] = self._pass
        untried, is_hopeless = len(self._urls), True
        while True:
            at, untried, is_well = self._at, untried - 1, False
            try:
                response = yield Request(f"{self._urls[at]}/v3/{path}", content, headers)
                code, message, answer = _read(response)
                is_well = code not in PASSING
            except Unanswered as lost:
                is_hopeless = is_hopeless and lost.is_hopeless
                if untried and (lost.is_hopeless or not lost.was_sent):
                    continue
                kind = BackendRefused if is_hopeless else BackendUnavailable
                raise kind(self.label, call, lost.reason) from lost.__cause__
            finally:  # also if the call is cancelled: the member may be why
                if not is_well and self._at == at:
                    self._at = (at + 1) % len(self._urls)
            return code, message, answer


def _read(response: Response) -> tuple[int, str, dict[str, Any]]:
    """Return the gRPC code, the message and the answer that a gateway has put into a response."""
    try:
        said = _mapping(json.loads(response.text.partition("\n")[0]))
    except ValueError:
        said = {}
    answer = _mapping(said.get("result")) or said  # in a stream, or not
    if response.status == 200 and "header" in answer:
        return OK, "", answer
    told = _mapping(said.get("error")) or said
    code = told.get("code", told.get("grpc_code"))
    if isinstance(code, int):
        return code, str(told.get("message", said.get("error"))), {}
    # No gateway of etcd, but perhaps something in front of it that cannot reach one.
    passes = response.status == 429 or response.status >= 500
    return UNAVAILABLE if passes else PRECONDITION, f"HTTP {response.status}, not from etcd v3", {}


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
