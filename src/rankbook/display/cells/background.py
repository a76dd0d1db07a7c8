"""The screen of a cell in the background: its output stays below it while other cells run.

Streams and new displays belong to the cell that runs at the moment; an existing display is
found by its id. So such a cell begins with two, one for text and one for pictures, which grow.
"""

from __future__ import annotations

import uuid
from collections import deque
from typing import Any

from rankbook.display.cells.entries import Screen
from rankbook.display.html import of_display
from rankbook.errors import PromptError

__all__ = ["BackgroundScreen"]

_LINES = 500
"""Lines that it keeps on screen."""

_CHARACTERS = 4_000_000
"""Size of the pictures that it keeps on screen: their display is sent whole each time."""


class BackgroundScreen:
    """Shows text in one display, and below it HTML and images in another.

    Anything else, a widget for example, gets its own display, below the cell that runs by then.
    """

    can_clear = True

    def __init__(self, screen: Screen) -> None:
        """Reserve both displays below the cell that runs.

        Args:
            screen: The notebook's.
        """
        self._screen = screen
        self._text, self._rich = uuid.uuid4().hex, uuid.uuid4().hex
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._dropped = 0
        self._pictures: dict[str, tuple[str, str]] = {}  # by id: as HTML, as text
        self._left_out = 0
        screen.redraw("", self._text, first=True, final=False)
        screen.show(self._bundle(), {}, self._rich, update=False)

    def write(self, name: str, text: str) -> None:
        """Add text; standard output and error share one display, in their order."""
        del name
        lines = text.removesuffix("\n").split("\n")
        self._dropped += max(0, len(self._lines) + len(lines) - _LINES)
        self._lines.extend(lines)
        head = [f"({self._dropped} lines above left out)"] if self._dropped else []
        self._screen.redraw("\n".join([*head, *self._lines]), self._text, first=False, final=False)

    def show(
        self, data: dict[str, Any], metadata: dict[str, Any], display_id: str, *, update: bool
    ) -> None:
        """Add a display, or put another in its place; plain text joins the rest."""
        if data.keys() == {"text/plain"}:
            self.write("stdout", data["text/plain"])
        elif html := of_display(data, metadata):
            self._pictures[display_id] = (html, data.get("text/plain", ""))
            self._leave_out()
            self._draw()
        else:
            self._screen.show(data, metadata, display_id, update=update)

    def clear(self, *, wait: bool) -> None:
        """Empty its displays: their cell is another one by now."""
        del wait
        self._lines.clear()
        self._pictures.clear()
        self._dropped = self._left_out = 0
        self._screen.redraw("", self._text, first=False, final=False)
        self._draw()

    def redraw(self, text: str, display_id: str, *, first: bool, final: bool) -> None:
        """Show lines that are rewritten once they are final."""
        del display_id, first
        if final and text:
            self.write("stdout", text)

    def ask(self, prompt: str, *, secret: bool) -> str:
        """A cell in the background has no input field."""
        del prompt, secret
        raise PromptError("a cell with --no-wait cannot ask for input: run it without --no-wait")

    def _draw(self) -> None:
        self._screen.show(self._bundle(), {}, self._rich, update=True)

    def _bundle(self) -> dict[str, Any]:
        pictures = [*self._pictures.values()]
        if self._left_out:
            note = f"({self._left_out} displays above left out)"
            pictures.insert(0, (f"<div>{note}</div>", note))
        return {
            "text/html": "".join(html for html, _ in pictures),
            "text/plain": "\n".join(text for _, text in pictures),
        }

    def _leave_out(self) -> None:
        """Drop the oldest pictures where there are too many; the latest always stays."""
        size = sum(len(html) + len(text) for html, text in self._pictures.values())
        while size > _CHARACTERS and len(self._pictures) > 1:
            html, text = self._pictures.pop(next(iter(self._pictures)))
            size -= len(html) + len(text)
            self._left_out += 1
