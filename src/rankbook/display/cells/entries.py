"""The entries of a page: lines of text, and displays."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

from rankbook.display.html import caption
from rankbook.display.text import prefixed
from rankbook.models.events import Display
from rankbook.models.meshes import NamedMesh

__all__ = ["Entry", "Key", "Line", "Picture", "Screen"]

Key = tuple[int, str]
"""A rank and a stream."""

_BLANK = re.compile(r"\s*(<pre[^>]*>\s*</pre>)?\s*")
"""HTML that shows nothing."""


class Screen(Protocol):
    """Where output goes: a notebook, a terminal, a test."""

    can_clear: bool
    """Whether output can be taken back."""

    def write(self, name: str, text: str) -> None:
        """Append text to ``stdout`` or ``stderr``."""

    def show(
        self, data: dict[str, Any], metadata: dict[str, Any], display_id: str, *, update: bool
    ) -> None:
        """Show a rich display, or put another in its place."""

    def redraw(self, text: str, display_id: str, *, first: bool, final: bool) -> None:
        """Show text that changes in place until it is final."""

    def clear(self, *, wait: bool) -> None:
        """Take back everything; with ``wait``, when the next output comes."""

    def ask(self, prompt: str, *, secret: bool) -> str:
        """Ask the user for a line; PromptError where nobody can be asked."""


@dataclass(eq=False, slots=True)
class Entry:
    """Something on the page, and the ranks that it belongs to; without any it stays."""

    ranks: frozenset[int]
    place: tuple[int, ...] = ()
    """The key that sorts it among the others."""
    is_drawn: bool = False
    is_gone: bool = False
    stream: str = ""
    """Of a line: ``stdout`` or ``stderr``."""

    def take_back(self, ranks: Collection[int]) -> bool:
        """Take back what belongs to these ranks; return whether anything did."""
        was = len(self.ranks)
        self.ranks = self.ranks.difference(ranks)
        return len(self.ranks) < was

    @property
    def size(self) -> int:
        """How many characters it takes to show it."""
        raise NotImplementedError

    def draw(self, screen: Screen, mesh: NamedMesh | None) -> None:
        """Show it, unless it is a line, at the end of the screen.

        Args:
            screen: Where.
            mesh: Its dimensions name the ranks, where that is possible.
        """
        raise NotImplementedError


@dataclass(eq=False, slots=True)
class Line(Entry):
    """A line of a stream; its text may have several lines."""

    text: str = ""

    @property
    def size(self) -> int:
        """See :attr:`Entry.size`."""
        return len(self.text)

    def shown(self, mesh: NamedMesh | None) -> str:
        """The line with its ranks."""
        return prefixed(self.ranks, self.text, mesh) if self.ranks else self.text


@dataclass(eq=False, slots=True)
class Picture(Entry):
    """A display, below a caption that names its ranks."""

    data: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    display_id: str = ""
    caption_id: str = ""
    screen: Screen | None = None
    """Where it is shown: a cell in the background has another screen than later cells."""

    @property
    def size(self) -> int:
        """See :attr:`Entry.size`."""
        return sum(len(text) for text in self.data.values() if isinstance(text, str))

    def draw(self, screen: Screen, mesh: NamedMesh | None) -> None:
        """See :meth:`Entry.draw`."""
        # A front end takes a display with a known name for an update of the earlier one.
        self.display_id, self.caption_id = uuid.uuid4().hex, uuid.uuid4().hex
        self.screen = screen
        if self.ranks and not self._is_blank:
            screen.show(*caption(self.ranks, mesh), self.caption_id, update=False)
        screen.show(self.data, self.metadata, self.display_id, update=False)

    @property
    def _is_blank(self) -> bool:
        """Whether it is an empty line, such as rich shows where something ends."""
        others = self.data.keys() - {"text/plain", "text/html"}
        is_blank = _BLANK.fullmatch(self.data.get("text/html", ""))
        return bool(is_blank) and not others and self.data.get("text/plain") == ""

    def replace(self, display: Display) -> None:
        """Put another display in its place."""
        self.data, self.metadata = display.data, display.metadata
        if self.is_drawn and self.screen is not None:
            self.screen.show(self.data, self.metadata, self.display_id, update=True)

    def draw_caption(self, mesh: NamedMesh | None) -> None:
        """Name its ranks again, which have become fewer."""
        if self.is_drawn and self.screen is not None and self.screen.can_clear:
            self.screen.show(*caption(self.ranks, mesh), self.caption_id, update=True)
