"""What a cell says while it runs: its output, as it is sent to the notebook.

A cell can print faster than can be shown, so an event travels as a row, not as a dict: its kind,
then its fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

__all__ = ["Asks", "Clear", "Display", "Event", "Result", "Stream", "from_row", "to_row"]


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
    """What the cell names it by; empty: it has no name."""
    update: bool = False
    """Whether it takes the place of the display of that name, instead of being a new one."""
    kind: ClassVar[str] = "display"


@dataclass(frozen=True)
class Clear:
    """The cell has asked for its output to be cleared."""

    wait: bool = False
    """Whether only when the next output comes."""
    kind: ClassVar[str] = "clear"


@dataclass(frozen=True)
class Asks:
    """The rank stands at a prompt, and goes on when it is answered."""

    number: int
    """Of the question, on this rank."""
    of: str
    """Who asks: ``debugger``, ``input``, or ``password``, whose answer must not be shown."""
    text: str = ""
    """What :func:`input` was given; of the debugger, what it wants that is no command of its own:
    ``...``, the next line of a statement."""
    place: str = ""
    """Where the debugger stands: ``In [7] line 4``."""
    kind: ClassVar[str] = "asks"


Event: TypeAlias = Stream | Result | Display | Clear | Asks

_CLASSES: dict[str, type[Event]] = {cls.kind: cls for cls in (Stream, Result, Display, Clear, Asks)}


def to_row(event: Event) -> list[Any]:
    """The kind of an event and its fields, in their order."""
    return [event.kind, *vars(event).values()]


def from_row(row: Sequence[Any]) -> Event:
    """Undo :func:`to_row`."""
    return _CLASSES[row[0]](*row[1:])
