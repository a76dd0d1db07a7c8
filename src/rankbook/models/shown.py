"""Descriptions of the ranks' values for drawing: tensors, shards of DTensors, meshes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.meshes import HeldMesh, NamedMesh
from rankbook.models.wire import Request

__all__ = ["Held", "Part", "Shard", "Show", "Shown", "Values"]


@dataclass(frozen=True)
class Show(Request):
    """Describe the rank's value; the answer is :class:`Held`."""

    expression: str
    """A name, with attributes and indices: nothing is called."""
    op = "show"


@dataclass(frozen=True)
class Shard:
    """The layout of a DTensor on its mesh, and the part on this rank."""

    shape: tuple[int, ...]
    """Shape of the whole."""
    mesh: HeldMesh
    placements: tuple[str, ...]
    """For each dimension of the mesh: ``Shard(0)``, ``Replicate()``, ``Partial(sum)``."""
    coordinate: tuple[int, ...] = ()
    """This rank's place in the mesh; empty if it is not in it."""
    offset: tuple[int, ...] = ()
    """Where in the whole this rank's part begins; empty if unknown."""


@dataclass(frozen=True)
class Values:
    """The numbers of a tensor, as far as they are shown."""

    shape: tuple[int, ...]
    dtype: str
    device: str
    rows: int = 0
    """Number of rows of ``cells``; of more than two dimensions, the leading ones form the rows."""
    cells: tuple[str, ...] = ()
    """Row by row: each number in figures, or the means of equal areas of a large tensor."""
    is_pooled: bool = False
    """Whether ``cells`` are such means."""
    least: str = ""
    most: str = ""
    mean: str = ""
    odd: int = 0
    """How many numbers are NaN or infinite."""
    digest: str = ""
    """The same on two ranks if the values are; empty: not compared."""
    why: str = ""
    """Why no numbers are shown: it has no data, or none that can be read."""


@dataclass(frozen=True)
class Part:
    """A value, or one of the tensors in it."""

    path: str
    """``0.weight``, ``['x']``; empty: the value itself."""
    kind: str
    """Its class."""
    text: str = ""
    """The repr of a plain value."""
    values: Values | None = None
    """The numbers of a tensor, or of a DTensor's part on this rank."""
    shard: Shard | None = None
    mesh: HeldMesh | None = None


@dataclass(frozen=True)
class Held:
    """The value of one rank."""

    error: str = ""
    """One line on why it cannot be described; empty if it can."""
    parts: tuple[Part, ...] = ()
    more: int = 0
    """Number of further parts, which are left out."""


@dataclass(frozen=True)
class Shown:
    """Who holds what, to be drawn."""

    expression: str
    by_rank: Mapping[int, Held]
    silent: tuple[int, ...] = ()
    """Ranks that were asked, and did not answer in time."""
    mesh: NamedMesh | None = field(default=None)
    """The mesh of the ranks, if its dimensions have names."""
