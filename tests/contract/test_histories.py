"""Risk: a history of acquire, release, cancel and time out that nobody thought of."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .checks import Ledger, assert_at_rest
from .hosts import ON_ASYNCIO, ON_MIXED, ON_THREADS, ON_TRIO, Host
from .subjects import VARIANTS, Make, Variant
from .worlds import Contestant, Handle, World

CONTENDERS = 4
TIMEOUTS = {"acquire": None, "try": 0.0, "try for 2 ms": 0.002}

Action = tuple[str, int]
"""What happens and to which contender; for a pause, how many turns it lasts."""

actions = st.tuples(
    st.sampled_from([*TIMEOUTS, "release", "cancel", "turns", "nap"]),
    st.integers(0, CONTENDERS - 1),
)
histories = st.lists(actions, min_size=2, max_size=25)


class Contender:
    """One who acquires, holds until told to let go, and releases; then it may begin anew."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.handle: Handle[bool] | None = None
        self.must_get_in = False
        self.let_go = False

    @property
    def idle(self) -> bool:
        return self.handle is None or self.handle.done

    def settle(self) -> None:
        """Check how its last acquisition ended: without limit and cancel, it got in."""
        if self.handle is not None and self.handle.done:
            if not self.handle.cancelled:
                got_in = self.handle.outcome()
                assert got_in or not self.must_get_in, f"{self.name} was lost"
            self.handle = None


def check_history(make: Make, host: Host, history: list[Action]) -> None:
    async def main(world: World) -> None:
        subject = make()
        ledger = Ledger()
        contenders = [Contender(f"contender {place}") for place in range(CONTENDERS)]

        def acquisition(contender: Contender, timeout: float | None) -> Contestant[bool]:
            async def acquire(world: World) -> bool:
                if not await world.acquire(subject, timeout):
                    return False
                try:
                    with ledger.visit(contender.name):
                        await world.until(lambda: contender.let_go, "its release")
                finally:
                    world.release(subject)
                return True

            return acquire

        for what, which in history:
            contender = contenders[which]
            if what in TIMEOUTS and contender.idle:
                contender.settle()
                contender.let_go = False
                contender.must_get_in = TIMEOUTS[what] is None
                contender.handle = world.spawn(acquisition(contender, TIMEOUTS[what]))
            elif what == "release":
                contender.let_go = True
            elif what == "cancel" and contender.handle is not None and contender.handle.can_cancel:
                contender.handle.cancel()
            elif what == "turns":
                for _ in range(which):
                    await world.sleep(0)
            elif what == "nap":
                await world.sleep(0.001)
        for contender in contenders:
            contender.let_go = True
        await world.join([each.handle for each in contenders if each.handle is not None])
        for contender in contenders:
            contender.settle()
        await assert_at_rest(world, subject)
        counted = subject.lock.statistics()
        assert counted.attempts >= counted.contended + counted.timeouts + counted.cancellations

    host.run(main)


def variants_on(host: Host) -> st.SearchStrategy[Variant]:
    """Return the variants whose every contender on this host stands in the queue."""
    return st.sampled_from([v for v in VARIANTS if v.for_threads or not host.with_threads])


@pytest.mark.parametrize(
    "host", [ON_ASYNCIO, ON_TRIO, ON_THREADS, ON_MIXED], ids=lambda host: host.name
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), history=histories)
def test_histories(host: Host, data: st.DataObject, history: list[Action]) -> None:
    check_history(data.draw(variants_on(host), label="make"), host, history)
