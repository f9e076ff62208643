"""Who held, slept and tried, in text: a line for each contender."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from backofflock import simulation

__all__ = ["beginning", "drawn"]

_HELD, _TRIED, _SLEPT, _AWAY = "#|. "
_LEGEND = f"{_HELD} held  {_TRIED} tried, in vain  {_SLEPT} slept"


def beginning(
    spans: Sequence[simulation.Span], contenders: int, most: int, limit: float = inf
) -> list[simulation.Span]:
    """Return the spans up to `limit`, or up to when the contenders have tried `most` times each.

    That is the mean; of more, a picture would be all tries.

    >>> span = simulation.Span
    >>> spans = [span(0, "tried", 0.0, 0.0), span(0, "slept", 0.0, 3.0), span(0, "tried", 1.0, 1.0)]
    >>> [each.ended for each in beginning(spans, 1, 2)], len(beginning(spans, 1, 9))
    ([0.0, 1.0], 3)
    """
    tries = sorted(span.began for span in spans if span.what == "tried")
    if len(tries) >= most * contenders:
        limit = min(limit, tries[most * contenders - 1])
    return [
        simulation.Span(span.who, span.what, span.began, min(span.ended, limit))
        for span in spans
        if span.began < limit
    ]


def drawn(
    spans: Sequence[simulation.Span], contenders: int, width: int, title: str
) -> Iterator[str]:
    """Yield the lines of the picture; what lasted longest in a column is what it shows.

    A hold shows however short it was, and so does a try where nothing was held.

    >>> span = simulation.Span
    >>> spans = [span(0, "held", 0.0, 1.0), span(1, "tried", 0.0, 0.0), span(1, "slept", 0.0, 1.0),
    ...          span(1, "held", 1.0, 2.0)]
    >>> for line in drawn(spans, 2, 24, "constant"):
    ...     print(line)
    constant
      1 ##########
      2 |.........##########
        0                2 s
    # held  | tried, in vain  . slept
    """
    end = max((span.ended for span in spans), default=0.0) or 1.0
    gutter = max(3, len(str(contenders)))
    columns = max(10, width - gutter - 1)
    rows = [[_AWAY] * columns for _ in range(contenders)]
    scale = columns / end
    for sign, what in ((_SLEPT, "slept"), (_TRIED, "tried"), (_HELD, "held")):
        for span in spans:
            if span.what == what:
                first = min(columns - 1, int(span.began * scale))
                last = max(first + 1, min(columns, round(span.ended * scale)))
                rows[span.who][first:last] = sign * (last - first)
    yield title
    for number, row in enumerate(rows, start=1):
        yield f"{number:>{gutter}} {''.join(row)}".rstrip()
    label = f"{end:.3g} s"
    yield f"{'':{gutter}} 0{label:>{columns - 1}}"
    yield _LEGEND
