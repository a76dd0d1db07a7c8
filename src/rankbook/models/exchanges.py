"""The inputs and outputs of a cell's calls, kept to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rankbook.models.calls import Call
from rankbook.models.meshes import NamedMesh
from rankbook.models.shown import Values
from rankbook.models.wire import Request

__all__ = ["Exchange", "Exchanges", "GetKept", "KeptCalls"]


@dataclass(frozen=True)
class GetKept(Request):
    """Report the values that the latest cell with ``keep_values`` kept; the answer is KeptCalls."""

    op = "get_kept"


@dataclass(frozen=True)
class Exchange:
    """One call on one rank, and its tensors; several tensors of one side are stacked."""

    call: Call
    given: Values | None = None
    """The inputs; None if there are none."""
    got: Values | None = None
    """The outputs; None if there are none."""
    is_done: bool = True
    """Whether it was seen to end."""
    is_late: bool = False
    """Whether ``got`` dates from the end of the cell, because no code waited for the call."""


@dataclass(frozen=True)
class KeptCalls:
    """The calls of a cell that a rank kept."""

    calls: tuple[Exchange, ...] = ()
    more: int = 0
    """Calls beyond those."""


@dataclass(frozen=True)
class Exchanges:
    """The calls of a cell that ranks kept, to be drawn."""

    by_rank: Mapping[int, KeptCalls]
    silent: tuple[int, ...] = ()
    """Ranks that were asked, and did not answer in time."""
    mesh: NamedMesh | None = None
    """The mesh of the ranks, if its dimensions have names."""
