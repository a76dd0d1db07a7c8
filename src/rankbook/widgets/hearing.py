"""Pages that show a widget and never receive its messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anywidget

__all__ = ["Hearing"]


class Hearing:
    """Answers pages that have not received anything for a widget yet, and notices deaf ones.

    anywidget (0.11) waits two seconds for a page to load a widget. A page that takes longer, on an
    overloaded machine, shows the widget all the same, and its messages arrive here; but it never
    receives any. So pages ask until they receive something
    (``page/hearing.js``); one that still asks a while after it was answered twice is deaf.

    A question after one answer proves nothing: where the kernel receives nothing while a cell runs,
    a cell may run between two questions, so that the second is old when it arrives.
    """

    def __init__(
        self, widget: anywidget.AnyWidget, on_deaf: Callable[[], Any], patience: float
    ) -> None:
        """Answer from now on.

        Args:
            widget: The widget whose pages ask.
            on_deaf: Called when a page is found to be deaf, possibly more than once.
            patience: Seconds after an answer within which it may still be on its way.
        """
        self._widget, self._on_deaf, self._patience = widget, on_deaf, patience
        self._answered: dict[Any, float] = {}
        self._doubted: set[Any] = set()
        widget.on_msg(self._on_message)

    def _on_message(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if content.get("kind") != "hearing":
            return
        page, now = content.get("page"), time.monotonic()
        if now - self._answered.setdefault(page, now) > self._patience:
            if page in self._doubted:
                self._on_deaf()
                return
            self._doubted.add(page)
            self._answered[page] = now
        self._widget.send({"kind": "heard you", "now": time.time()})
