"""Inspecting names and values on ranks."""

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
    "Understands",
    "Variable",
]


@dataclass(frozen=True)
class Complete(Request):
    """Complete what is typed; the answer is :class:`Completions`."""

    code: str
    cursor: int
    """The number of characters before the cursor."""
    op = "complete"


@dataclass(frozen=True)
class Completion:
    """One completion."""

    text: str
    """The replacement of the characters from ``start`` to the cursor."""
    kind: str = ""
    """``function``, ``instance`` …; empty: unknown."""


@dataclass(frozen=True)
class Completions:
    """All completions."""

    start: int
    found: tuple[Completion, ...] = ()


@dataclass(frozen=True)
class Inspect(Request):
    """Describe a name; the answer is :class:`Inspected`."""

    name: str
    detail: int = 0
    """1 to include its source."""
    op = "inspect"


@dataclass(frozen=True)
class Inspected:
    """The description of a name on one rank."""

    is_found: bool
    fields: Mapping[str, str] = field(default_factory=dict)
    """Its fields by title, in order: ``Signature``, ``Type``, ``Value`` …"""


@dataclass(frozen=True)
class Understands(Request):
    """Whether a cell is Python or IPython syntax there; the answer is a bool."""

    code: str
    op = "understands"


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
    """Equal on two ranks if the values are equal; empty: not compared."""
