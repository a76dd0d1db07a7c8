"""A session as a notebook holds it: with its dashboard."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rankbook.display.faces import give_faces
from rankbook.errors import InputError
from rankbook.models import CellSpan
from rankbook.sessions import session

# Drawing timelines needs numpy, whose import would delay every start.
if TYPE_CHECKING:
    from rankbook.display.timeline import Chart
    from rankbook.timeline import Bar

__all__ = ["Session"]

give_faces()


class Session(session.Session):
    """One cluster and its process group, seen from the notebook.

    Made by :func:`start` or :func:`connect`.
    """

    _dashboard: Any = None

    def dashboard(self) -> Any:
        """The session's ipywidgets dashboard: the state of every rank, and buttons."""
        # A closed widget has no comm.
        if self._dashboard is None or getattr(self._dashboard, "comm", self) is None:
            from rankbook.widgets import Dashboard

            self._dashboard = Dashboard(self)
        return self._dashboard

    def timeline(self, cell: int | str | None = None) -> Chart:
        """Draw what the ranks called, side by side, as a picture that stays.

        It answers while a cell runs or hangs. Each rank keeps its latest 4,096 calls.

        Args:
            cell: Number of a notebook's cell, ``"all"``, or None for the last cell that called a
                collective.

        Returns:
            A picture that shows itself, with ``save("timeline.svg")``.

        Raises:
            InputError: That cell has not run on the ranks.
            SessionError: There is no group.
        """
        from rankbook.display.timeline import Chart
        from rankbook.sessions.live.collector import Timeline

        snapshot, cells = self.snapshot(), list(self.cells)
        placement = self.members.placed()  # remains while the group is re-created
        if isinstance(cell, int) and cell not in [span.number for span in cells]:
            raise InputError(f"In [{cell}] has not run on ranks, or too many have since.")
        collected = Timeline(self.members)
        collected.collect(snapshot.states, cells, is_last=True)
        bars = tuple(collected.all())
        chosen = [span for span in cells if cell in (span.number, "all")]
        if cell is None:
            chosen = [span for span in cells if _within(bars, [span])][-1:]
        if chosen and cell != "all":
            bars = _within(bars, chosen)
        return Chart(bars, tuple(chosen), placement.world_size, collected.note)


def _within(bars: tuple[Bar, ...], spans: list[CellSpan]) -> tuple[Bar, ...]:
    """Bars of collectives that were called while one of the cells ran."""
    return tuple(
        bar
        for bar in bars
        if any(span.started <= bar.start <= (span.ended or math.inf) for span in spans)
    )
