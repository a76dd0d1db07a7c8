"""How the time of the last cell divides on each rank, kept up to date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankbook.display.times import Times
from rankbook.timeline.shares import shares

if TYPE_CHECKING:
    from rankbook.models import CellSpan
    from rankbook.timeline import Kept

__all__ = ["Spent"]


class Spent:
    """The times of the last cell that has ended and called a collective.

    A cell that still runs has none: its account comes with its end.

    Attributes:
        times: What is known.
    """

    def __init__(self) -> None:
        self.times = Times()
        self._seen: object = None

    def look(self, kept: Kept, cells: Sequence[CellSpan]) -> bool:
        """Bring the times up to date; return whether they have changed.

        Args:
            kept: The settled bars: those of a cell may come after its end.
            cells: When cells ran.
        """
        ended = (c for c in reversed(cells) if c.ended is not None)
        cell = next((c for c in ended if any(t.calls for t in c.traffic.values())), None)
        seen = (cell and cell.started, kept.edition, len(kept))
        if cell is None or cell.ended is None or seen == self._seen:
            return False
        self._seen, before = seen, self.times
        _, rows, *_ = kept.since(0)
        by_rank = shares(rows, cell.traffic, cell.started, cell.ended)
        self.times = Times(cell.name, by_rank)
        return self.times != before
