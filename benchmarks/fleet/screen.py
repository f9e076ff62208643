"""What a run shows: what the other suite does, with the tables of a fleet."""

from __future__ import annotations

from collections.abc import Sequence

from .. import screen
from ..samples import Sample
from .tables import cell_table

__all__ = ["Screen"]


class Screen(screen.Screen):
    """Progress goes to stderr, results to stdout; ``quiet`` keeps the results back."""

    WIDTH = 220

    def complain(self, text: str) -> None:
        """Print a line about what is missing."""
        self._err.print(text, markup=False)

    def _table(self, samples: Sequence[Sample], cell: str) -> tuple[list[str], list[list[str]]]:
        return cell_table(samples, cell)
