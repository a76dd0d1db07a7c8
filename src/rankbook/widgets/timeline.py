"""The timeline of collectives: one lane per rank, one bar per collective.

It shows what :class:`rankbook.sessions.timeline.Timeline` has collected; see there how both are
plugged into whatever looks at the session.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import anywidget
import traitlets

from rankbook.models import to_dict
from rankbook.timeline import FIELDS
from rankbook.widgets.subshell import answer_beside_cells

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rankbook.models import CellSpan, RankState
    from rankbook.sessions.timeline import Timeline

__all__ = ["TimelineView"]

_HERE = Path(__file__).parent


class TimelineView(anywidget.AnyWidget):
    """Shows the timeline of a session, wherever it is displayed.

    Bars travel as columns, each a buffer of little-endian numbers, in the order of
    :data:`rankbook.timeline.FIELDS`, and with them the kernel's time (seconds since the epoch),
    which need not be the page's. Settled ones are sent once; a page that comes later says ``hello``
    and gets them all.
    """

    _esm: ClassVar[Path] = _HERE / "timeline.js"
    _css: ClassVar[Path] = _HERE / "timeline.css"

    lanes = traitlets.List(traitlets.Dict()).tag(sync=True)
    cells = traitlets.List(traitlets.Dict()).tag(sync=True)
    clocks = traitlets.List(traitlets.Dict()).tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lock = threading.Lock()
        self._timeline: Timeline | None = None
        self._sent = (0, 0)
        self._open: list[Any] = []
        self.on_msg(self._on_message)
        answer_beside_cells(self)

    def update(
        self, timeline: Timeline, states: Iterable[RankState], cells: Sequence[CellSpan]
    ) -> None:
        """Show what has been collected since; nothing is sent where nothing has changed.

        Args:
            timeline: What was collected.
            states: What the ranks do, by rank.
            cells: When cells ran.
        """
        self.lanes = [{"rank": s.info.rank, "host": s.host} for s in states if s.info]
        self.cells = [to_dict(cell) for cell in cells]
        self.clocks, self.note = timeline.clocks, timeline.note
        with self._lock:
            self._timeline = timeline
            edition, count = self._sent
            if edition != timeline.kept.edition:
                self._tell_bars(reset=True)
            elif count != len(timeline.kept):
                self._tell_bars(reset=False)
            if self._open != timeline.open:
                self._tell_open()

    def _on_message(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if content.get("kind") == "hello":
            with self._lock:
                self._tell_bars(reset=True)
                self._tell_open()

    def _tell_bars(self, *, reset: bool) -> None:
        if self._timeline is None:
            return
        kept = self._timeline.kept
        edition, rows = kept.since(0 if reset else self._sent[1])
        self._sent = edition, (0 if reset else self._sent[1]) + len(rows)
        self._tell("bars", rows, reset=reset)

    def _tell_open(self) -> None:
        if self._timeline is None:
            return
        self._open = self._timeline.open
        kept = self._timeline.kept
        self._tell("open", kept.rows(self._open), reset=False)

    def _tell(self, kind: str, rows: NDArray[np.void], *, reset: bool) -> None:
        assert self._timeline is not None  # noqa: S101 - asked above
        kept = self._timeline.kept
        content = {
            "kind": kind,
            "reset": reset,
            "ops": list(kept.ops),
            "groups": list(kept.groups),
            "count": len(rows),
            "now": time.time(),
        }
        self.send(content, [rows[name].tobytes() for name in FIELDS.names or ()])
