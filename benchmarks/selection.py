"""What ``--only`` means: cells and peers by name or pattern."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from .cells import Cell
from .peers import Peer

__all__ = ["NoSuchName", "select"]


class NoSuchName(ValueError):
    """A pattern that fits neither a cell nor a peer."""


def select(
    patterns: Sequence[str], cells: Sequence[Cell], peers: Sequence[Peer]
) -> tuple[list[Cell], list[Peer]]:
    """Return the cells and the peers that the patterns name; all of a kind that none names.

    Variants of our defaults only come in by name.

    A cell is named by its id or the beginning of it up to a slash, a peer by its whole name; both
    may hold the wildcards of the shell.
    """
    some_cells: set[str] = set()
    some_peers: set[str] = set()
    for pattern in patterns:
        found_cells = {cell.id for cell in cells if _names(pattern, cell.id)}
        found_peers = {
            peer.name for peer in peers if pattern == peer.name or fnmatchcase(peer.name, pattern)
        }
        if not found_cells and not found_peers:
            raise NoSuchName(
                f"{pattern!r} is neither a workload nor a peer; --list shows what there is"
            )
        some_cells |= found_cells
        some_peers |= found_peers
    return (
        [cell for cell in cells if not some_cells or cell.id in some_cells],
        [peer for peer in peers if (peer.name in some_peers if some_peers else not peer.variant)],
    )


def _names(pattern: str, cell: str) -> bool:
    return fnmatchcase(cell, pattern) or fnmatchcase(cell, f"{pattern.rstrip('/')}/*")
