"""``ipywidgets.Output`` on a rank: output inside ``with out:`` goes into the widget.

In a plain notebook the page does that: it moves output of the cell's message into the widget. A
rank's output comes in other messages, from several ranks at once. So the rank puts it into the
widget, as ``append_stdout`` does. ``rich.live`` and others rely on this.
"""

from __future__ import annotations

import threading
import time
import weakref
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rankbook.engine.cells.failures import text
from rankbook.engine.imports import when_imported
from rankbook.engine.looking import traces
from rankbook.models.events import Clear, Display

if TYPE_CHECKING:
    from rankbook.engine.cells.failures import Failures

__all__ = ["Outputs"]

_PAUSE = 0.05
"""Seconds between two updates of a widget: each sends its whole content."""


class _Content:
    """The content of one widget; from any thread."""

    def __init__(self, widget: Any) -> None:
        self._find = weakref.ref(widget)  # must not keep the widget alive
        self._lock = threading.RLock()
        self._new: list[dict[str, Any]] = []
        self._is_to_clear = False
        self._shown = 0.0

    def add(self, *outputs: dict[str, Any]) -> None:
        """Show notebook outputs, soon."""
        with self._lock:
            self._new += outputs
            if time.monotonic() >= self._shown + _PAUSE:
                self.show()

    def show(self) -> None:
        """Show pending outputs now."""
        with self._lock:
            widget = self._find()
            if widget is None or not self._new:
                return
            outputs = [] if self._is_to_clear else list(widget.outputs)
            self._is_to_clear = False
            new, self._new = self._new, []
            for one in new:
                last = outputs[-1] if outputs else {}
                if one["output_type"] == "stream" and last.get("name") == one["name"]:
                    outputs[-1] = last | {"text": last["text"] + one["text"]}
                else:
                    outputs.append(one)
            widget.outputs = tuple(outputs)
            self._shown = time.monotonic()

    def clear(self, *, wait: bool) -> None:
        """Take back what it shows; with ``wait``, when there is something else to show."""
        with self._lock:
            self._new.clear()
            self._is_to_clear = wait
            if not wait and (widget := self._find()):
                widget.outputs = ()

    def update(self, display: Display) -> bool:
        """Replace the displays of a name; return whether there are any."""
        with self._lock:
            self.show()
            widget = self._find()
            if widget is None:
                return False
            known = widget.outputs
            if not any(_name(one) == display.display_id for one in known):
                return False
            widget.outputs = tuple(
                _output(display) if _name(one) == display.display_id else one for one in known
            )
            return True


class Outputs:
    """The widgets of this process that capture output."""

    def __init__(self, failures: Failures) -> None:
        """Patch the widget class once it is imported.

        Args:
            failures: Recognises exceptions that end the cell, which a widget must not swallow.
        """
        self._contents: weakref.WeakKeyDictionary[Any, _Content] = weakref.WeakKeyDictionary()
        self._inside: list[_Content] = []
        self._failures = failures
        when_imported("ipywidgets.widgets.widget_output", self._replace)

    def write(self, stream: str, text: str) -> bool:
        """Take text if a widget captures it; return whether one does."""
        if not self._inside:
            return False
        self._inside[-1].add({"output_type": "stream", "name": stream, "text": text})
        return True

    def display(self, display: Display | Clear) -> bool:
        """Take a display if a widget captures it; return whether one does."""
        if isinstance(display, Display) and display.update:
            replaced = [content.update(display) for content in list(self._contents.values())]
            return any(replaced)
        if not self._inside:
            return False
        if isinstance(display, Clear):
            self._inside[-1].clear(wait=display.wait)
        else:
            self._inside[-1].add(_output(display))
        return True

    def show(self) -> None:
        """Show pending outputs of all widgets; from any thread."""
        for content in list(self._contents.values()):
            content.show()

    def leave(self) -> None:
        """In a forked child: keep its output out of widgets."""
        self._inside.clear()

    def _replace(self, module: ModuleType) -> None:
        def enter(widget: Any) -> None:
            content = self._contents.setdefault(widget, _Content(widget))
            self._inside.append(content)

        def leave(widget: Any, etype: Any, error: Any, _traceback: Any) -> bool:
            content = self._contents[widget]
            self._inside.remove(content)
            shows = isinstance(error, Exception) and not self._failures.is_end(etype)
            if shows:
                content.add(_error(error))
            content.show()
            return shows

        cls: Any = module.Output
        cls.__enter__, cls.__exit__ = enter, leave


def _output(display: Display) -> dict[str, Any]:
    output = {
        "output_type": "display_data",
        "data": display.data,
        "metadata": display.metadata,
    }
    if display.display_id:
        output["transient"] = {"display_id": display.display_id}
    return output


def _error(error: BaseException) -> dict[str, Any]:
    return {
        "output_type": "error",
        "ename": type(error).__name__,
        "evalue": text(error),
        # IPython mistakes the line at which a frame ended, here that of "with", for the error's.
        "traceback": traces.in_lines(error, text(error)),
    }


def _name(output: dict[str, Any]) -> str:
    name: str = output.get("transient", {}).get("display_id", "")
    return name
