"""Looking at the names and values that live on ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.wire import Request

__all__ = [
    "Complete",
    "Completion",
    "Completions",
    "Inspect",
    "Inspected",
    "ListVariables",
    "Variable",
]


@dataclass(frozen=True)
class Complete(Request):
    """Complete what is typed; the answer is :class:`Completions`."""

    code: str
    cursor: int
    """Where the cursor is: characters before it."""
    op = "complete"


@dataclass(frozen=True)
class Completion:
    """One way to go on."""

    text: str
    """What takes the place of the characters from ``start`` to the cursor."""
    kind: str = ""
    """``function``, ``instance`` …; empty: unknown."""


@dataclass(frozen=True)
class Completions:
    """All ways to go on."""

    start: int
    found: tuple[Completion, ...] = ()


@dataclass(frozen=True)
class Inspect(Request):
    """Say what a name stands for; the answer is :class:`Inspected`."""

    name: str
    detail: int = 0
    """1: with its source."""
    op = "inspect"


@dataclass(frozen=True)
class Inspected:
    """What a name stands for on one rank."""

    is_found: bool
    fields: Mapping[str, str] = field(default_factory=dict)
    """By title, in their order, what is known of it: ``Signature``, ``Type``, ``Value`` …"""


@dataclass(frozen=True)
class ListVariables(Request):
    """List the variables of the cells; the answer is a list of :class:`Variable`."""

    op = "list_variables"


@dataclass(frozen=True)
class Variable:
    """A variable of one rank."""

    name: str
    type: str
    shape: str = ""
    dtype: str = ""
    device: str = ""
    nbytes: int | None = None
    """None: unknown."""
    digest: str = ""
    """The same on two ranks if the values are the same; empty: not compared."""
