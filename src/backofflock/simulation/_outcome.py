"""What a simulation tells: counted while it runs, and summed up at its end."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

__all__ = ["Outcome", "Span", "Tally", "fairness", "percentile", "rule_of_thumb"]


@dataclass(frozen=True, slots=True)
class Span:
    """What one contender did for a while, for a picture."""

    who: int
    """Number of the contender, from 0."""
    what: str
    """``held``, ``slept`` or ``tried``."""
    began: float
    """Virtual seconds."""
    ended: float
    """Virtual seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One schedule in one scenario; times are virtual seconds, means are over the runs."""

    runs: int
    """How many runs it is the mean of."""
    elapsed: float
    """From the beginning to the end."""
    utilisation: float
    """The share of that for which somebody held the lock."""
    acquisitions: float
    """Acquisitions of a run."""
    wait_p50: float
    """Half of the acquisitions waited for less than this, over all runs."""
    wait_p99: float
    """All but one in a hundred waited for less."""
    wait_longest: float
    """The longest wait, over all runs, those that had not ended included."""
    fairness: float
    """Jain's index, 1 if all were served alike; see `Tally`."""
    waiters: float
    """How many waited at a time, on average."""
    tries: float
    """Tries for an acquisition; those of waiters that got nothing count too."""
    nap: float
    """The mean nap between two tries."""
    commands: float
    """Requests that reached the server in a second; 0 for a lock of one process."""
    server_busy: float
    """The share of the time for which the server was at work."""
    unanswered: float
    """Requests a run whose reply was lost or came too late."""


class Tally:
    """What is counted while a simulation runs.

    Fairness is Jain's index of the acquisitions per contender, counted until the first contender
    has had all its rounds: from then on not everybody contends. Where each has but one round it is
    that of their waits.
    """

    __slots__ = (
        "busy",
        "counts",
        "ended",
        "held",
        "last_end",
        "naps",
        "requests",
        "share",
        "slept",
        "spans",
        "tries",
        "unanswered",
        "waits",
    )

    def __init__(self, contenders: int, *, trace: bool = False) -> None:
        self.waits = array("d")
        self.counts = [0] * contenders
        self.share: list[int] | None = None
        self.held = 0.0
        self.tries = 0
        self.naps = 0
        self.slept = 0.0
        self.requests = 0
        self.busy = 0.0
        self.unanswered = 0
        self.last_end = 0.0
        self.ended = 0
        """Contenders that have had all their rounds."""
        self.spans: list[Span] | None = [] if trace else None

    def hold(self, who: int, asked: float, began: float, ended: float) -> int:
        """Note an acquisition; return how many this contender has had."""
        if began < self.last_end:
            raise AssertionError(f"two hold the lock at {began:g}: the simulation is wrong")
        self.last_end = ended
        self.held += ended - began
        self.waits.append(began - asked)
        self.counts[who] = count = self.counts[who] + 1
        if self.spans is not None:
            self.spans.append(Span(who, "held", began, ended))
        return count

    def nap(self, who: int, began: float, ended: float) -> None:
        """Note a try that failed and the nap after it."""
        self.naps += 1
        self.slept += ended - began
        if self.spans is not None:
            self.spans.append(Span(who, "tried", began, began))
            self.spans.append(Span(who, "slept", began, ended))

    def finish(self) -> None:
        """Note that a contender has had all its rounds."""
        self.ended += 1
        if self.share is None:
            self.share = list(self.counts)


def fairness(shares: Sequence[float]) -> float:
    """Return Jain's index: 1 if all shares are equal, 1/n if one has everything.

    Source: R. Jain, D. Chiu, W. Hawe, DEC-TR-301, 1984.

    >>> fairness([3, 3, 3]), fairness([9, 0, 0, 0])
    (1.0, 0.25)
    """
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the value below which `percent` of an ordered sequence lie; 0 of an empty one.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50)
    3.0
    """
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def rule_of_thumb(nap: float, contenders: float, hold: float) -> float:
    """Return the utilisation that the rule of `backofflock.schedules` expects.

    >>> rule_of_thumb(nap=0.1, contenders=10, hold=0.01)
    0.5
    """
    return 1.0 / (1.0 + nap / (contenders * hold)) if contenders * hold else 0.0


def summed_up(runs: Iterable[tuple[Tally, float, array[float]]]) -> Outcome:
    """Return the outcome of some runs: each a tally, its end, and the waits that had not ended."""
    done = list(runs)
    tallies = [tally for tally, _, _ in done]
    ends = [max(end, 1e-12) for _, end, _ in done]
    pending = [wait for _, _, waits in done for wait in waits]
    waits = array("d")
    for tally in tallies:
        waits.extend(tally.waits)
    ordered = sorted(waits)
    acquisitions = len(waits)
    naps = sum(tally.naps for tally in tallies)
    waited = (sum(tally.waits) + sum(waits) for tally, _, waits in done)

    def mean(values: Iterable[float]) -> float:
        return fmean(value / end for value, end in zip(values, ends, strict=True))

    return Outcome(
        runs=len(done),
        elapsed=fmean(ends),
        utilisation=mean(tally.held for tally in tallies),
        acquisitions=acquisitions / len(done),
        wait_p50=percentile(ordered, 50),
        wait_p99=percentile(ordered, 99),
        wait_longest=max(ordered[-1] if ordered else 0.0, max(pending, default=0.0)),
        fairness=fmean(_fairness(tally) for tally in tallies),
        waiters=mean(waited),
        tries=sum(tally.tries for tally in tallies) / max(1, acquisitions),
        nap=sum(tally.slept for tally in tallies) / naps if naps else 0.0,
        commands=mean(tally.requests for tally in tallies),
        server_busy=mean(tally.busy for tally in tallies),
        unanswered=fmean(tally.unanswered for tally in tallies),
    )


def _fairness(tally: Tally) -> float:
    shares = tally.counts if tally.share is None else tally.share
    if tally.share is not None and max(tally.counts) == 1:
        return fairness(tally.waits)
    return fairness(shares)
