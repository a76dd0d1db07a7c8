"""Screens: the notebook's, and one for a plain terminal."""

from __future__ import annotations

import sys
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any

from IPython.display import publish_display_data

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["BackgroundScreen", "NotebookScreen", "TerminalScreen", "screen_for"]

_BACKGROUND_LINES = 500
"""Lines that a cell in the background keeps on screen."""


class NotebookScreen:
    """A Jupyter front end: streams, displays, and displays that change in place."""

    def write(self, name: str, text: str) -> None:
        """Append text to a stream, and have it sent at once."""
        stream = getattr(sys, name)
        stream.write(text)
        # ipykernel would wait 0.2 s for more.
        stream.flush()

    def show(
        self, data: dict[str, Any], metadata: dict[str, Any], display_id: str, *, update: bool
    ) -> None:
        """Show a display, or put another in its place."""
        publish_display_data(data, metadata, transient={"display_id": display_id}, update=update)

    def redraw(self, text: str, display_id: str, *, first: bool, final: bool) -> None:
        """Show text in a display of its own that is replaced by the next."""
        del final
        self.show({"text/plain": text}, {}, display_id, update=not first)


class TerminalScreen:
    """A terminal, or anything that only shows text: what changes is shown when it is final."""

    def write(self, name: str, text: str) -> None:
        """Append text to a stream."""
        stream = getattr(sys, name)
        stream.write(text)
        stream.flush()

    def show(
        self, data: dict[str, Any], metadata: dict[str, Any], display_id: str, *, update: bool
    ) -> None:
        """Print the plain text of a display."""
        del metadata, display_id, update
        print(data.get("text/plain", ""))

    def redraw(self, text: str, display_id: str, *, first: bool, final: bool) -> None:
        """Print the text once it is final."""
        del display_id, first
        if final and text:
            print(text)


class BackgroundScreen:
    """The screen of a cell that nobody waits for: text in one display that grows.

    Streams belong to the cell that runs just now, so text written from a thread would go astray; a
    display is found by its id, wherever the notebook has gone meanwhile.
    """

    def __init__(self, screen: NotebookScreen | TerminalScreen) -> None:
        self._screen = screen
        self._id = uuid.uuid4().hex
        self._lines: deque[str] = deque(maxlen=_BACKGROUND_LINES)
        self._dropped = 0
        screen.redraw("", self._id, first=True, final=False)

    def write(self, name: str, text: str) -> None:
        """Add text; standard output and error stand in one display, in their order."""
        del name
        lines = text.removesuffix("\n").split("\n")
        self._dropped += max(0, len(self._lines) + len(lines) - _BACKGROUND_LINES)
        self._lines.extend(lines)
        head = [f"({self._dropped} lines above left out)"] if self._dropped else []
        self._screen.redraw("\n".join([*head, *self._lines]), self._id, first=False, final=False)

    def show(
        self, data: dict[str, Any], metadata: dict[str, Any], display_id: str, *, update: bool
    ) -> None:
        """Show a display, wherever the notebook is by now; plain text stays with the rest."""
        if data.keys() == {"text/plain"}:
            self.write("stdout", data["text/plain"])
        else:
            self._screen.show(data, metadata, display_id, update=update)

    def redraw(self, text: str, display_id: str, *, first: bool, final: bool) -> None:
        """Show lines that are rewritten once they are final."""
        del display_id, first
        if final and text:
            self.write("stdout", text)


def screen_for(shell: InteractiveShell) -> NotebookScreen | TerminalScreen:
    """The screen that suits a shell: a kernel's, or a terminal's."""
    return NotebookScreen() if getattr(shell, "kernel", None) is not None else TerminalScreen()
