"""The three calls of the etcd backend, as generators that ask a `Cluster`.

A lock is a key, the prefix and its name. Its value is the token that has the lock, its lease of
etcd ends the grant, and the revision that created it is the fence. The requests of each call:

=========  =====================================================================================
acquire    ``lease/grant`` once for a token, unless a lease is idle; for each try ``kv/txn``: create
           the key unless it is there, else look at it. ``lease/keepalive`` if the last word about
           the lease is older than a third of the ttl.
renew      ``kv/range``: is the key still the token's? Then ``lease/keepalive``.
release    ``kv/txn``: delete the key if it is the token's. If all requests of the token have been
           answered, the lease is idle now; else, and if it never had the lock, ``lease/revoke``.
=========  =====================================================================================

Nothing that arrives late gets the lock for a token that was released. A key is only created with a
lease whose grant was answered, each grant is sent once, with a number of its own, and what may
still arrive for a token finds its leases revoked. What is left of a grant that arrives later than
its revocation is a lease without a key.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections import deque
from math import ceil
from typing import Any

from ..leases import Busy, Grant, clock
from ._etcd_gateway import UNAVAILABLE, Cluster, Steps
from ._etcd_leases import Idle, Known, Lease

__all__ = ["Calls"]

LONGEST = 9_000_000_000
"""Seconds of the longest ttl that etcd takes."""

TRIES = 3
"""Leases that one call asks for, if each ends before it is used."""

REMEMBERED = 1000
"""Tokens that are refused after their release; what is still under way is for one of the last."""

BUSY = Busy()


class Calls:
    """The three calls, as generators."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self._ask = cluster.ask
        self._failure = cluster.failure
        self._prefix = prefix
        self._idle = Idle()
        self._tokens: dict[str, Known] = {}
        self._released: deque[str] = deque()

    def try_acquire(self, name: str, token: str, ttl: float) -> Steps[Grant | Busy]:
        """Give the lock to `token` unless another has it."""
        known, mark = self._know(token), object()
        known.open.add(mark)  # and it stays if this is left without an answer
        answer = yield from self._acquire(known, self._key(name), token, ttl)
        known.open.discard(mark)
        return answer

    def renew(self, name: str, token: str, ttl: float) -> Steps[bool]:
        """Prolong the grant of `token`; return whether it still had it."""
        known, mark = self._know(token), object()
        known.open.add(mark)
        held = yield from self._renew(known, self._key(name), token, ttl)
        known.open.discard(mark)
        return held

    def release(self, name: str, token: str) -> Steps[bool]:
        """Take the lock from `token`, for good; return whether it had it."""
        known, mark = self._know(token), object()
        known.open.add(mark)
        if not known.is_released:
            known.is_released = True
            self._released.append(token)
            if len(self._released) > REMEMBERED:
                self._tokens.pop(self._released.popleft(), None)
        yield from self._release(known, self._key(name), token, mark)
        known.open.discard(mark)
        had_it, known.had_it = known.had_it, False
        return had_it

    def _acquire(self, known: Known, key: str, token: str, ttl: float) -> Steps[Grant | Busy]:
        call, begun, seconds = "try_acquire", clock(), _seconds(ttl)
        for _ in range(TRIES):
            # First this: a release that this call does not see is one that sees this call.
            lease = None if known.is_released else (yield from self._live(call, known, seconds))
            if lease is None or known.is_released:
                yield from self._revoke(call, known)
                return BUSY
            if lease.is_over():
                known.lease = None
                break
            answer = yield from self._ask(
                call,
                "kv/txn",
                {
                    "compare": [_compare(key, "CREATE", create_revision="0")],
                    "success": [_put(key, token, lease)],
                    "failure": [{"request_range": {"key": key}}],
                },
            )
            if not answer:
                known.lease = None  # it has ended, or somebody has revoked it
                continue
            fence = answer["header"]["revision"]
            if not answer.get("succeeded"):
                found = answer["responses"][0]["response_range"]["kvs"][0]
                if not _is_of(token, found):
                    return BUSY
                fence = found["create_revision"]
                number = int(found["lease"])
                if number != lease.number:  # of a call that overlaps, or of another process
                    lease = yield from self._prolong(call, known, number)
                    if lease is None:
                        continue
            return Grant(int(fence), min(lease.ttl, lease.sent + lease.ttl - begun))
        raise self._failure(call, UNAVAILABLE, "leases end before they can be used")

    def _renew(self, known: Known, key: str, token: str, ttl: float) -> Steps[bool]:
        call, seconds, lease = "renew", _seconds(ttl), known.lease
        answer = yield from self._ask(call, "kv/range", {"key": key})
        found: dict[str, Any] = answer["kvs"][0] if "kvs" in answer else {}
        if known.is_released or not _is_of(token, found):
            return False
        number = int(found["lease"])
        asked = lease.asked if lease is not None and lease.number == number else 0
        lease = yield from self._prolong(call, known, number, asked)
        if lease is None or lease.ttl >= seconds:
            return lease is not None
        # etcd makes no lease longer than it was granted. The key gets another, and keeps its fence.
        lease = yield from self._grant(call, known, seconds)
        created = found["create_revision"]
        answer = yield from self._ask(
            call,
            "kv/txn",
            {
                "compare": [
                    _compare(key, "CREATE", create_revision=created),
                    _compare(key, "VALUE", value=found["value"]),
                ],
                "success": [_put(key, token, lease)],
            },
        )
        return bool(answer.get("succeeded"))

    def _release(self, known: Known, key: str, token: str, mark: object) -> Steps[None]:
        call = "release"
        answer = yield from self._ask(
            call,
            "kv/txn",
            {
                "compare": [_compare(key, "VALUE", value=_base64(token))],
                "success": [{"request_delete_range": {"key": key, "prev_kv": True}}],
            },
        )
        if answer.get("succeeded"):
            deleted = answer["responses"][0]["response_delete_range"]["prev_kvs"][0]
            lease = known.lease
            if _is_of(token, deleted):
                known.had_it = True
                known.owns(int(deleted["lease"]))
            # Free for another token if nothing of this one is under way that could still use it.
            if lease is not None and lease.asked and known.open == {mark}:
                known.lease = None
                if known.takes_out(lease.number) and not self._idle.give(lease):
                    known.owns(lease.number)
        yield from self._revoke(call, known)

    def _know(self, token: str) -> Known:
        return self._tokens.get(token) or self._tokens.setdefault(token, Known())

    def _key(self, name: str) -> str:
        return _base64(self._prefix + name)

    def _live(self, call: str, known: Known, seconds: int) -> Steps[Lease]:
        """Return a lease to create a key with."""
        lease = known.lease
        if lease is None:
            lease = self._idle.take(seconds)
            if lease is not None:
                known.owns(lease.number)
                known.lease = lease
        if lease is not None and lease.is_stale():
            lease = yield from self._prolong(call, known, lease.number, lease.asked)
        return lease or (yield from self._grant(call, known, seconds))

    def _grant(self, call: str, known: Known, seconds: int) -> Steps[Lease]:
        number, sent = secrets.randbits(62) + 1, clock()
        known.owns(number)  # it may be granted without an answer
        body = {"ID": str(number), "TTL": str(seconds)}
        answer = yield from self._ask(call, "lease/grant", body)
        known.owns(number)  # a release may have revoked it too early
        known.lease = lease = Lease(number, seconds, sent, float(answer["TTL"]))
        return lease

    def _prolong(self, call: str, known: Known, number: int, asked: int = 0) -> Steps[Lease | None]:
        """Prolong a lease and turn to it; return None if it has ended."""
        known.owns(number)
        sent = clock()
        answer = yield from self._ask(call, "lease/keepalive", {"ID": str(number)})
        ttl = float(answer.get("TTL", 0))
        known.lease = lease = Lease(number, asked, sent, ttl) if ttl else None
        return lease

    def _revoke(self, call: str, known: Known) -> Steps[None]:
        while True:
            try:
                number = known.numbers.pop()
            except IndexError:
                return
            is_gone = False
            try:
                yield from self._ask(call, "lease/revoke", {"ID": str(number)})
                is_gone = True
            finally:
                if not is_gone:
                    known.owns(number)


def _is_of(token: str, found: dict[str, Any]) -> bool:
    """Return whether a key is the token's. One without a lease is none of ours: it would stay."""
    return found.get("value") == _base64(token) and "lease" in found


def _compare(key: str, target: str, **wanted: str) -> dict[str, str]:
    return {"key": key, "target": target, **wanted}


def _put(key: str, token: str, lease: Lease) -> dict[str, Any]:
    return {"request_put": {"key": key, "value": _base64(token), "lease": str(lease.number)}}


def _seconds(ttl: float) -> int:
    return ceil(min(ttl, LONGEST))


def _base64(text: str) -> str:
    return b64encode(text.encode("utf-8", "surrogatepass")).decode()
