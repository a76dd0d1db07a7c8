"""The dashboard's panel as a widget: HTML goes to the page, clicks come back."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from rankbook.timing import Timing
from rankbook.widgets.clicks import Click
from rankbook.widgets.modules import joined
from rankbook.widgets.subshell import answer_beside_cells

__all__ = ["PanelView"]

_PAGE = Path(__file__).parent / "page"


class PanelView(anywidget.AnyWidget):
    """Shows HTML and reports clicks on it; the same in every place where it is shown.

    Attributes:
        html: What it shows.
        during: The ``Snapshot.turn`` of what it shows.
        drawn: How often that has changed: it tells a page whether it has missed something.
        on_click: Called with each click.
        on_look: Called when a page says that it shows the panel or has stopped, with whether any
            page still does.
    """

    _esm = joined(_PAGE / "dashboard.js")
    _css = _PAGE / "dashboard.css"
    html = traitlets.Unicode().tag(sync=True)
    during = traitlets.Int().tag(sync=True)
    drawn = traitlets.Int().tag(sync=True)

    def __init__(
        self, on_click: Callable[[Click], Any], on_look: Callable[[bool], Any], **traits: Any
    ) -> None:
        super().__init__(**traits)
        self.on_click, self.on_look = on_click, on_look
        self._drawing = threading.Lock()
        self._asked: dict[Any, float] = {}
        self._views: dict[Any, float] = {}
        self.on_msg(self._on_message)
        answer_beside_cells(self)

    def draw(self, html: str, during: int) -> None:
        """Show new HTML, from any thread; nothing is sent if nothing has changed."""
        with self._drawing:
            if (html, during) != (self.html, self.during):
                with self.hold_sync():
                    self.html, self.during, self.drawn = html, during, self.drawn + 1

    def _on_message(self, _: Any, content: dict[str, Any], __: Any) -> None:
        kind = content.get("kind")
        if kind == "ask":
            self._asked[content.get("id")] = time.monotonic()
            self.send({"kind": "heard", "id": content.get("id")})
        elif kind == "click" and content.get("id") in self._asked:
            # The page counts until its first message is answered, the kernel from then on: no
            # clock is compared with another.
            since = time.monotonic() - self._asked.pop(content.get("id"))
            self.on_click(
                Click(
                    str(content.get("do")),
                    float(content.get("age") or 0) + since,
                    int(content.get("during") or 0),
                    content.get("form") or {},
                )
            )
        elif kind == "here":
            self._views[content.get("view")] = time.monotonic()
            with self._drawing:
                # A server that has to hold back output drops messages of widgets, too.
                if int(content.get("shown") or 0) < self.drawn:
                    self.send_state(["html", "during", "drawn"])
            self.on_look(True)  # noqa: FBT003
        elif kind == "gone":
            self._views.pop(content.get("view"), None)
            # A page may have gone without a message.
            latest = max(self._views.values(), default=-math.inf)
            self.on_look(time.monotonic() - latest < Timing.forgotten)
