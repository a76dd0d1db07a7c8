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
    (``page/hearing.js``); one that still asks a while after it was answered twice is deaf.

    Once would prove nothing: where the kernel hears nothing while a cell runs, one may run between
    the first question and the next, which was asked long ago.
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
        self._widget.send({"kind": "heard you"})
