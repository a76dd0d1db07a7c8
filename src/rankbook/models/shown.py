"""What ranks hold, told so that it can be drawn: tensors, shards of DTensors, meshes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.meshes import HeldMesh, NamedMesh
from rankbook.models.wire import Request

__all__ = ["MIME", "Held", "Part", "Shard", "Show", "Shown", "Values"]

MIME = "application/vnd.rankbook.held+json"
"""In the result of a cell, beside its text: what the rank holds of it, as :class:`Held` has it."""


@dataclass(frozen=True)
class Show(Request):
    """Say what the rank holds; the answer is :class:`Held`."""

    expression: str
    """A name, with attributes and indices: nothing is called."""
    op = "show"


@dataclass(frozen=True)
class Shard:
    """How a DTensor lies on its mesh, and what of it is on this rank."""

    shape: tuple[int, ...]
    """Of all of it."""
    mesh: HeldMesh
    placements: tuple[str, ...]
    """For each dimension of the mesh: ``Shard(0)``, ``Replicate()``, ``Partial(sum)``."""
    coordinate: tuple[int, ...] = ()
    """Where this rank stands in the mesh; empty: it is not in it."""
    offset: tuple[int, ...] = ()
    """Where in all of it this rank's part begins; empty: unknown."""


@dataclass(frozen=True)
class Values:
    """The numbers of a tensor, as far as they are told."""

    shape: tuple[int, ...]
    dtype: str
    device: str
    rows: int = 0
    """Of ``cells``; what has more than two dimensions has the leading ones in its rows."""
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
    """Why no numbers are told: it has no data, or none that can be read."""


@dataclass(frozen=True)
class Part:
    """A value, or one of the tensors in it."""

    path: str
    """``0.weight``, ``['x']``; empty: the value itself."""
    kind: str
    """Its class."""
    text: str = ""
    """A plain value of Python's, as it writes it."""
    values: Values | None = None
    """Of a tensor; of a DTensor what is on this rank."""
    shard: Shard | None = None
    mesh: HeldMesh | None = None


@dataclass(frozen=True)
class Held:
    """What one rank holds."""

    error: str = ""
    """One line: why it cannot be told; empty: it can."""
    parts: tuple[Part, ...] = ()
    more: int = 0
    """Further parts, which are not told."""


@dataclass(frozen=True)
class Shown:
    """Who holds what, to be drawn."""

    expression: str
    by_rank: Mapping[int, Held]
    silent: tuple[int, ...] = ()
    """Ranks that were asked, and did not answer in time."""
    mesh: NamedMesh | None = field(default=None)
    """Where the ranks stand, if their dimensions have names."""
