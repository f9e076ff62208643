"""The contention of a lock, simulated: minutes of thousands of contenders in seconds.

The machine that the locks run on is driven with a virtual clock, so what is simulated is the policy
that runs and not a model of it; only time, naps and the server are imaginary.

>>> from backofflock import Constant, Exponential
>>> scenario = Scenario(contenders=32, hold=Distribution.parse("0.01"), seconds=10.0)
>>> capped = simulate(Exponential(0.01, cap=0.1), scenario)
>>> lazy = simulate(Constant(1.0, jitter=0.5), scenario)
>>> capped.utilisation > lazy.utilisation, capped.tries > lazy.tries
(True, True)
"""

from __future__ import annotations

from ._distributions import Distribution
from ._outcome import Outcome, Span, fairness, rule_of_thumb
from ._run import Progress, simulate, trace
from ._scenario import Arrival, Remote, Scenario
from ._suggest import best_of, candidates

__all__ = [
    "Arrival",
    "Distribution",
    "Outcome",
    "Progress",
    "Remote",
    "Scenario",
    "Span",
    "best_of",
    "candidates",
    "fairness",
    "rule_of_thumb",
    "simulate",
    "trace",
]
