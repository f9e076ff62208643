"""Risk: a request of etcd's is lost, or arrives when its caller has long given up.

The calls are generators: here a test is the network, between them and a real server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import permutations
from typing import TypeVar, cast

import httpx
import pytest

from backofflock import BackendUnavailable, Busy, Grant
from backofflock.backends._etcd_calls import Calls
from backofflock.backends._etcd_gateway import Cluster, Request, Response, Steps, Unanswered
from backofflock.testing._clients import new_token

from .fleet import new_name
from .servers.base import Server
from .servers.etcd import EtcdServer

T = TypeVar("T")

LONG = 60.0


class Network:
    """Between the calls and the server: it may lose what it is given, or deliver it late."""

    def __init__(self, server: EtcdServer, client: httpx.Client) -> None:
        self.server = server
        self.calls = Calls(Cluster([server.address], "etcd://test", None), "backofflock/")
        self._client = client

    def deliver(self, request: Request) -> Response:
        url, content, headers = request
        response = self._client.post(url, content=content, headers=headers)
        return Response(response.status_code, response.text)

    def carry_out(self, steps: Steps[T], lost: int = -1, is_carried_out: bool = False) -> T:
        """Carry out a call, of which one request, or its answer, is lost."""
        place = 0
        try:
            request = next(steps)
            while True:
                if place != lost or is_carried_out:
                    response = self.deliver(request)
                if place == lost:
                    request = steps.throw(Unanswered("lost", was_sent=True, is_hopeless=False))
                else:
                    request = steps.send(response)
                place += 1
        except StopIteration as done:
            result: T = done.value
            return result

    def held_up(self, steps: Steps[T], place: int) -> Request:
        """Carry out a call up to a request, which is still on its way when the call is given up."""
        request = next(steps)
        for _ in range(place):
            request = steps.send(self.deliver(request))
        steps.close()
        return request

    def gets(self, name: str, token: str, ttl: float = LONG) -> Grant:
        answer = self.carry_out(self.calls.try_acquire(name, token, ttl))
        assert isinstance(answer, Grant)
        return answer

    def is_refused(self, name: str, token: str) -> bool:
        return isinstance(self.carry_out(self.calls.try_acquire(name, token, LONG)), Busy)

    def releases(self, name: str, token: str) -> bool:
        return self.carry_out(self.calls.release(name, token))

    def renews(self, name: str, token: str, ttl: float = LONG) -> bool:
        return self.carry_out(self.calls.renew(name, token, ttl))


@pytest.fixture
def network(server_of: Callable[[str], Server]) -> Iterator[Network]:
    server = cast("EtcdServer", server_of("etcd"))
    for lease in server.leases():
        server.ask("lease/revoke", {"ID": str(lease)})
    with httpx.Client(trust_env=False) as client:
        yield Network(server, client)


@pytest.fixture
def name() -> str:
    return new_name("lost")


@pytest.mark.parametrize("is_carried_out", [False, True], ids=["request", "answer"])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_any_request_may_be_lost_and_sent_again(
    network: Network, name: str, lost: int, is_carried_out: bool
) -> None:
    calls, token = network.calls, new_token()
    losses = 0
    for call in calls.try_acquire, calls.renew:
        with suppress(BackendUnavailable):
            network.carry_out(call(name, token, LONG), lost, is_carried_out)
            losses -= 1
        losses += 1
        fence = network.gets(name, token).fence  # never told that its own lock is taken
        assert fence == int(network.server.key_of(name)["create_revision"])
        assert network.is_refused(name, new_token())
        assert network.renews(name, token)
    with suppress(BackendUnavailable):
        network.carry_out(calls.release(name, token), lost, is_carried_out)
        losses -= 1
    losses += 1
    network.releases(name, token)
    assert network.server.is_free(name)
    assert network.is_refused(name, token)
    assert losses == {0: 3, 1: 3, 2: 0}[lost]
    following = new_token()
    assert network.gets(name, following).fence > fence
    network.releases(name, following)


def test_a_lost_answer_leaves_no_lease(network: Network, name: str) -> None:
    for lost in 0, 1:
        for is_carried_out in False, True:
            token = new_token()
            with suppress(BackendUnavailable):
                network.carry_out(
                    network.calls.try_acquire(name, token, LONG), lost, is_carried_out
                )
            network.gets(name, token)
            assert network.releases(name, token)
            assert network.server.leases() == set(), (lost, is_carried_out)


def test_a_release_whose_revocation_was_lost_still_knows(network: Network, name: str) -> None:
    token = new_token()
    network.held_up(network.calls.try_acquire(name, token, LONG), 0)
    network.gets(name, token)
    with pytest.raises(BackendUnavailable):
        network.carry_out(network.calls.release(name, token), lost=1)
    assert network.releases(name, token), "it had it"
    assert network.server.leases() == set()


def test_nothing_that_is_late_gets_the_lock_for_a_released_token(
    network: Network, name: str
) -> None:
    calls = network.calls
    for late in permutations(range(4)):
        token = new_token()
        held_up = [
            network.held_up(calls.try_acquire(name, token, LONG), 0),  # a grant
            network.held_up(calls.try_acquire(name, token, LONG), 0),  # another
            network.held_up(calls.try_acquire(name, token, LONG), 1),  # the key, with a third
            network.held_up(calls.try_acquire(name, token, LONG), 0),  # the same again
        ]
        assert [request.url.rpartition("/v3/")[2] for request in held_up] == [
            *("lease/grant", "lease/grant", "kv/txn", "kv/txn")
        ]
        assert not network.releases(name, token)
        for i in late:
            network.deliver(held_up[i])
            assert network.server.is_free(name), f"{i} of {late}"


def test_a_late_renewal_does_not_bring_a_released_key_back(network: Network, name: str) -> None:
    token, following = new_token(), new_token()
    network.gets(name, token, ttl=1.0)
    longer = network.held_up(network.calls.renew(name, token, LONG), 3)
    assert longer.url.endswith("/kv/txn")
    assert network.releases(name, token)
    network.deliver(longer)
    assert network.server.is_free(name)
    network.gets(name, following)
    network.deliver(longer)
    assert network.renews(name, following)


def test_a_late_release_takes_the_lock_from_nobody_else(network: Network, name: str) -> None:
    calls = network.calls
    for place, path in enumerate(["kv/txn", "lease/revoke"]):
        token, following = new_token(), new_token()
        network.held_up(calls.try_acquire(name, token, LONG), 0)  # or there is none to revoke
        network.gets(name, token)
        late = network.held_up(calls.release(name, token), place)
        assert late.url.endswith(path)
        network.releases(name, token)
        network.gets(name, following)
        network.deliver(late)
        assert network.renews(name, following)
        assert network.releases(name, following)


def test_a_lease_is_idle_only_if_nothing_is_under_way_for_its_token(
    network: Network, name: str
) -> None:
    token, following = new_token(), new_token()
    network.gets(name, token)
    again = network.held_up(network.calls.try_acquire(name, token, LONG), 0)  # as one too slow
    assert again.url.endswith("/kv/txn")
    assert network.releases(name, token)
    assert network.server.leases() == set()
    network.deliver(again)
    assert network.server.is_free(name)
    network.gets(name, following)


def test_a_grant_that_a_release_overtakes_is_given_back(network: Network, name: str) -> None:
    token = new_token()
    steps = network.calls.try_acquire(name, token, LONG)
    grant = next(steps)
    assert not network.releases(name, token)
    revocation = steps.send(network.deliver(grant))
    assert revocation.url.endswith("/lease/revoke")
    with pytest.raises(StopIteration) as done:
        steps.send(network.deliver(revocation))
    assert isinstance(done.value.value, Busy)
    assert network.server.leases() == set()


def test_answers_that_are_slower_than_the_lease_are_no_grant(network: Network, name: str) -> None:
    steps = network.calls.try_acquire(name, new_token(), 1.0)
    answer = network.deliver(next(steps))
    while network.server.leases():
        pass  # for a second, until etcd ends it
    with pytest.raises(BackendUnavailable, match="leases end before they can be used"):
        steps.send(answer)
    assert network.server.is_free(name)


def test_only_the_last_released_tokens_are_remembered(network: Network, name: str) -> None:
    first = new_token()
    network.releases(name, first)
    for _ in range(1000):
        steps = network.calls.release(name, new_token())
        next(steps)
        steps.close()
    assert len(network.calls._tokens) == 1000
    assert not network.is_refused(name, first)
