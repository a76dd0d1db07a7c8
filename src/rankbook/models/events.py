"""Events of a running cell: its output, as it is sent to the notebook.

A cell can print faster than a notebook can show, so an event travels as a row, not as a dict: its
kind, then its fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

__all__ = [
    "HELD",
    "Asks",
    "Clear",
    "Display",
    "Event",
    "Result",
    "Stream",
    "effort",
    "from_row",
    "to_row",
]

HELD = "application/vnd.rankbook.held+json"
"""MIME type in a :class:`Result`: the rank's part of the value, a ``models.shown.Held``."""

_LINE = 100
"""Characters that a notebook shows in the time that it takes to merge one line."""


def effort(text: str) -> int:
    """What it takes to show a text, in characters; what its pieces take, adds up to it."""
    return len(text) + _LINE * text.count("\n")


@dataclass(frozen=True)
class Stream:
    """Text that was written to a stream."""

    name: str
    """``stdout`` or ``stderr``."""
    text: str
    kind: ClassVar[str] = "stream"


@dataclass(frozen=True)
class Result:
    """The value of the cell's last expression."""

    data: dict[str, Any]
    """By MIME type; ``text/plain`` is its ``repr``."""
    metadata: dict[str, Any] = field(default_factory=dict)
    kind: ClassVar[str] = "result"


@dataclass(frozen=True)
class Display:
    """A rich display: a figure, a table, a widget."""

    data: dict[str, Any]
    """By MIME type."""
    metadata: dict[str, Any] = field(default_factory=dict)
    display_id: str = ""
    """The name that the cell gave it; empty: none."""
    update: bool = False
    """Whether it replaces the display of that name, instead of being a new one."""
    kind: ClassVar[str] = "display"


@dataclass(frozen=True)
class Clear:
    """The cell cleared its output."""

    wait: bool = False
    """Whether only when the next output comes."""
    kind: ClassVar[str] = "clear"


@dataclass(frozen=True)
class Asks:
    """The rank is at a prompt, and goes on when it gets an answer."""

    number: int
    """Number of the question on this rank."""
    of: str
    """The asker: ``debugger``, ``input``, or ``password``, whose answer must not be shown."""
    text: str = ""
    """The prompt of :func:`input`; for the debugger, the input that it wants instead of a command:
    ``...`` for the next line of a statement."""
    place: str = ""
    """The place of the debugger: ``In [7] line 4``."""
    kind: ClassVar[str] = "asks"


Event: TypeAlias = Stream | Result | Display | Clear | Asks

_CLASSES: dict[str, type[Event]] = {cls.kind: cls for cls in (Stream, Result, Display, Clear, Asks)}


def to_row(event: Event) -> list[Any]:
    """The kind of an event and its fields, in their order."""
    return [event.kind, *vars(event).values()]


def from_row(row: Sequence[Any]) -> Event:
    """Undo :func:`to_row`."""
    return _CLASSES[row[0]](*row[1:])
