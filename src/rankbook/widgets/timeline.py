"""The timeline of collectives: one lane per rank, one bar per collective.

It shows what :class:`rankbook.sessions.live.collector.Timeline` has collected; see there how to
connect both to a session.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import anywidget
import traitlets

from rankbook.display.traffic import traffic_in_words
from rankbook.timeline import FIELDS, Names, as_array
from rankbook.widgets.modules import joined
from rankbook.widgets.subshell import answer_beside_cells

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rankbook.models import CellSpan, Look
    from rankbook.sessions.live.collector import Timeline

__all__ = ["TimelineView"]

_PAGE = Path(__file__).parent / "page"

_CELLS = 200
"""Cells that are shown at most: each new one sends them all."""

_OF_A_CELL = ("name", "label", "started", "ended")
"""The fields of a cell that a page gets; it does not need the code."""


class _Sent(NamedTuple):
    """What has been sent: the edition, and how many of each."""

    edition: int = 0
    bars: int = 0
    ops: int = 0
    groups: int = 0
    places: int = 0


class TimelineView(anywidget.AnyWidget):
    """Shows the timeline of a session, wherever it is displayed.

    Bars travel as columns, each a buffer of little-endian numbers, in the order of
    :data:`rankbook.timeline.FIELDS`, and with them the kernel's time (seconds since the epoch),
    which need not be the page's.

    Settled bars are sent once, and so are their names: each message says with which bar and edition
    it begins. A page that opens later, or that has missed a message (servers drop some when there
    are too many), sends ``hello`` and gets them all.
    """

    _esm: ClassVar[str] = joined(_PAGE / "timeline.js")
    _css: ClassVar[Path] = _PAGE / "timeline.css"

    lanes = traitlets.List(traitlets.Dict()).tag(sync=True)
    cells = traitlets.List(traitlets.Dict()).tag(sync=True)
    clocks = traitlets.List(traitlets.Dict()).tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lock = threading.Lock()
        self._timeline: Timeline | None = None
        self._sent = _Sent()
        self._open: list[Any] = []
        self.on_msg(self._on_message)
        answer_beside_cells(self)

    def update(self, timeline: Timeline, states: Iterable[Look], cells: Sequence[CellSpan]) -> None:
        """Show what was collected since the last call; nothing is sent if nothing has changed.

        Args:
            timeline: The collected bars.
            states: What the ranks do, by rank.
            cells: When cells ran.
        """
        self.lanes = self._lanes(states)
        self.cells = [
            {name: getattr(cell, name) for name in _OF_A_CELL}
            | {"traffic": traffic_in_words(cell.traffic)}
            for cell in _shown(cells, timeline)
        ]
        self.clocks, self.note = timeline.clocks, timeline.note
        with self._lock:
            self._timeline = timeline
            if self._sent.edition != timeline.kept.edition:
                self._tell_bars(reset=True)
            elif self._sent.bars != len(timeline.kept):
                self._tell_bars(reset=False)
            if self._open != timeline.open:
                self._tell_open()

    def _lanes(self, states: Iterable[Look]) -> list[dict[str, Any]]:
        # A silent rank reports no host: it is still on its former one.
        known = {lane["rank"]: lane["host"] for lane in self.lanes}
        ranks = [(s.info.rank, s.host) for s in states if s.info]
        lanes = [{"rank": rank, "host": host or known.get(rank, "")} for rank, host in ranks]
        return lanes or self.lanes  # while a group is being re-created, there is none for a moment

    def _on_message(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if content.get("kind") == "hello":
            with self._lock:
                self._tell_bars(reset=True)
                self._tell_open()

    def _tell_bars(self, *, reset: bool) -> None:
        if self._timeline is None:
            return
        before = self._sent if not reset else _Sent()
        edition, rows, ops, groups, places = self._timeline.kept.since(before.bars)
        told = before.bars + len(rows)
        self._sent = _Sent(edition, told, len(ops), len(groups), len(places))
        content = {
            "reset": reset,
            "edition": edition,
            "from": before.bars,
            "open": len(self._open),
            "ops": ops[before.ops : self._sent.ops],
            "groups": groups[before.groups : self._sent.groups],
            "places": places[before.places : self._sent.places],
        }
        self._tell("bars", content, rows)

    def _tell_open(self) -> None:
        if self._timeline is None:
            return
        self._open = self._timeline.open
        ops, groups, places = Names(), Names(), Names()
        rows = as_array(self._open, ops, groups, places)
        # It also says which bars a page must have by now: the next message may be a long time off.
        content = {"edition": self._sent.edition, "settled": self._sent.bars}
        names = {"ops": list(ops), "groups": list(groups), "places": list(places)}
        self._tell("open", content | names, rows)

    def _tell(self, kind: str, content: dict[str, Any], rows: NDArray[np.void]) -> None:
        content |= {"kind": kind, "count": len(rows), "now": time.time()}
        self.send(content, [rows[name].tobytes() for name in FIELDS.names or ()])


def _shown(cells: Sequence[CellSpan], timeline: Timeline) -> Iterator[CellSpan]:
    """The latest cells that are not older than all bars; none runs in a closed session."""
    for cell in cells[-_CELLS:]:
        if cell.ended is None:
            yield replace(cell, ended=timeline.ended)
        elif cell.ended >= timeline.kept.oldest or not len(timeline.kept):
            yield cell
