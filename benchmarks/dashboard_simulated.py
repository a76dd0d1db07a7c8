"""A dashboard of ranks that do not exist: imported by a kernel, which sends it to a real page."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets
import psutil

from rankbook.display.dashboard.panel import Panel
from rankbook.display.dashboard.panel import to_html as panel_html
from rankbook.models import CellSpan, Collective, GroupInfo, Look, Snapshot
from rankbook.sessions.live.collector import Timeline
from rankbook.timeline import Bar
from rankbook.widgets.panel import PanelView
from rankbook.widgets.timeline import TimelineView

__all__ = ["Simulated", "memory"]

_STEP = 0.005
"""Seconds from one collective to the next."""

_CELL = 1_000
"""Collectives of one cell."""


class Simulated:
    """The panel and the timeline of a group, whatever one wants them to show.

    Attributes:
        box: To be displayed.
    """

    def __init__(self, ranks: int, lanes: int = 8, per_update: int = 0) -> None:
        """Show nothing yet.

        Args:
            ranks: How many the panel shows.
            lanes: How many the timeline shows.
            per_update: Collectives that :meth:`send` adds to the timeline with every picture.
        """
        self._ranks, self._lanes, self._per_update = ranks, lanes, per_update
        self._panel = PanelView(lambda _click: None, lambda _someone: None)
        self._view = TimelineView()
        # It collects nothing: bars are put in where it would put them.
        self._timeline = Timeline(members=None, host="here")  # type: ignore[arg-type]
        self._collectives = 0
        self._epoch = time.time() - 3600
        self._cells: list[CellSpan] = []
        self.box = widgets.VBox([self._panel, self._view])

    def draw(self, number: int) -> float:
        """Show picture ``number``, unlike all others; return how long the HTML took."""
        begin = time.perf_counter()
        html = panel_html(Panel(self._snapshot(number)))
        took = time.perf_counter() - begin
        self._panel.draw(html, 0)
        return took

    def blank(self) -> None:
        """Show nothing."""
        self._panel.draw("", 0)

    def html(self, number: int) -> str:
        """The HTML of a picture."""
        return panel_html(Panel(self._snapshot(number)))

    def send(self, first: int, last: int) -> None:
        """Show these pictures, and with each some more collectives."""
        for number in range(first, last + 1):
            self.collectives(self._per_update)
            self.draw(number)

    def collectives(self, count: int) -> None:
        """Have the timeline show so many more."""
        if not count:
            return
        new = range(self._collectives, self._collectives + count)
        self._timeline.kept.add(bar for number in new for bar in self._bars(number))
        self._collectives += count
        states = self._snapshot(0).states[: self._lanes]
        self._view.update(self._timeline, states, self._cells[-100:])

    @property
    def note(self) -> str:
        """What the timeline says of what it left out."""
        return self._timeline.note

    @property
    def thinned(self) -> int:
        """How often the timeline left out bars that it had shown."""
        return self._timeline.kept.edition

    def _bars(self, number: int) -> Iterator[Bar]:
        """One collective of all lanes; of a hundred, one is late."""
        start = self._epoch + number * _STEP
        if number % _CELL == 0:
            seconds = _CELL * _STEP
            self._cells.append(CellSpan(number // _CELL, "train()", start, start + seconds))
        for rank in range(self._lanes):
            late = (rank * 37 + number * 11) % 17 * 1e-5
            if number % 100 == 0 and rank == self._lanes - 1:
                late += 0.002
            op = ("all_reduce", "all_gather", "barrier")[number % 3]
            yield Bar(start + late, 0.003 - late, late, rank, op, "0", 4096, number + 1, 1)

    def _snapshot(self, number: int) -> Snapshot:
        states = tuple(self._state(rank, number) for rank in range(self._ranks))
        return Snapshot("gloo", self._ranks, number, "running a cell", states, "simulated", turn=0)

    def _state(self, rank: int, number: int) -> Look:
        info = GroupInfo("gloo", rank, self._ranks, "cpu", rank == 0, rank % 8, 1)
        facts: dict[str, Any] = {
            "host": f"node{rank // 8}",
            "pid": 1000 + rank,
            "cell": number,
            "memory": 10**9 + (number * 7919 + rank * 104_729) % 10**9,
            "memory_total": 2 * 10**9,
            "since": (number + rank) % 100,
        }
        if (number + rank) % 2:
            line = f"line {number % 90}: dist.all_reduce(x[{number}])"
            waiting = Collective("all_reduce", "0", seq=number)
            return Look("waiting", line, waiting=waiting, engine=rank, info=info, **facts)
        line = f"line {number % 90}: y = model(x[{number}])"
        return Look("running", line, engine=rank, info=info, **facts)


def memory() -> int:
    """Bytes of this process that are in memory, after a collection."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)
