"""What the calls of a cell put in and got out, kept to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rankbook.models.calls import Call
from rankbook.models.meshes import NamedMesh
from rankbook.models.shown import Values
from rankbook.models.wire import Request

__all__ = ["Exchange", "Exchanges", "KeptCalls", "SayKept"]


@dataclass(frozen=True)
class SayKept(Request):
    """Say what was kept of the latest cell that was to keep it; the answer is KeptCalls."""

    op = "say_kept"


@dataclass(frozen=True)
class Exchange:
    """One call on one rank, and its tensors; several tensors of one side are stacked."""

    call: Call
    given: Values | None = None
    """What was put in; None: nothing."""
    got: Values | None = None
    """What came out; None: nothing."""
    is_done: bool = True
    """Whether it was seen to end."""
    is_late: bool = False
    """Whether ``got`` is as it was at the end of the cell: nobody has waited for the call."""


@dataclass(frozen=True)
class KeptCalls:
    """What a rank has kept of a cell."""

    calls: tuple[Exchange, ...] = ()
    more: int = 0
    """Calls beyond those."""


@dataclass(frozen=True)
class Exchanges:
    """What ranks have kept of a cell, to be drawn."""

    by_rank: Mapping[int, KeptCalls]
    silent: tuple[int, ...] = ()
    """Ranks that were asked, and did not answer in time."""
    mesh: NamedMesh | None = None
    """Where the ranks stand, if their dimensions have names."""
