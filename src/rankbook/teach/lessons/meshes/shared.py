"""The rows and columns of the mesh."""

from __future__ import annotations

__all__ = ["COLUMNS", "ROWS", "list_of"]


ROWS = [[0, 1], [2, 3]]
COLUMNS = [[0, 2], [1, 3]]


def list_of(lists: list[list[int]], rank: int) -> list[int]:
    """The list that a rank is in."""
    return next(ranks for ranks in lists if rank in ranks)
