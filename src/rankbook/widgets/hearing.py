"""Pages that show a widget and hear nothing of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anywidget

__all__ = ["Hearing"]


class Hearing:
    """Answers pages that have heard nothing of a widget yet, and tells if one does not hear that.

    anywidget (0.11) waits two seconds for a page to load a widget. A page that takes longer, on a
    machine that is overloaded, shows the widget all the same, and what it says arrives here; but
    of what is sent to it nothing ever does. So pages ask until they hear something
    (``page/hearing.js``); one that still asks a while after it was answered is deaf.
    """

    def __init__(
        self, widget: anywidget.AnyWidget, on_deaf: Callable[[], Any], patience: float
    ) -> None:
        """Answer from now on.

        Args:
            widget: Of what.
            on_deaf: Called when a page is deaf, maybe more than once.
            patience: Seconds after an answer within which it may still be on its way.
        """
        self._widget, self._on_deaf, self._patience = widget, on_deaf, patience
        self._answered: dict[Any, float] = {}
        widget.on_msg(self._on_message)

    def _on_message(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if content.get("kind") != "hearing":
            return
        now = time.monotonic()
        # Of a kernel that was busy many questions wait: it is not they that count, but the time.
        if now - self._answered.setdefault(content.get("page"), now) > self._patience:
            self._on_deaf()
        else:
            self._widget.send({"kind": "heard you"})
