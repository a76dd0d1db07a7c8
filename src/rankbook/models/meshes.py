"""Named dimensions of the ranks: a device mesh, as the notebook knows it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod

from rankbook.models.wire import Request

__all__ = ["GetMesh", "HeldMesh", "NamedMesh"]


@dataclass(frozen=True)
class NamedMesh:
    """The places of ranks along named dimensions."""

    dims: tuple[str, ...]
    """``("dp", "tp")``."""
    sizes: tuple[int, ...]
    ranks: tuple[int, ...]
    """Global ranks, the last dimension varying fastest."""
    name: str = "mesh"
    """Name of the variable on the ranks that holds it."""

    def __str__(self) -> str:
        return " ".join(f"{dim}={size}" for dim, size in zip(self.dims, self.sizes, strict=True))

    @property
    def size(self) -> int:
        """Number of its ranks."""
        return len(self.ranks)

    def coordinates(self, rank: int) -> tuple[int, ...]:
        """The place of a rank, one number for each dimension.

        Raises:
            ValueError: It is not in the mesh.
        """
        at, found = self.ranks.index(rank), []
        for size in reversed(self.sizes):
            at, place = divmod(at, size)
            found.append(place)
        return tuple(reversed(found))

    def place(self, rank: int) -> str:
        """The same in words: ``dp=1 tp=0``; empty for a rank that is not in the mesh."""
        if rank not in self.ranks:
            return ""
        pairs = zip(self.dims, self.coordinates(rank), strict=True)
        return " ".join(f"{dim}={at}" for dim, at in pairs)

    def name_of(self, ranks: Collection[int]) -> str:
        """The name of some ranks: ``dp=1``, where they are exactly the ranks of that place.

        Empty for one rank, for all, and for any others, which are best named by number.
        """
        chosen = set(ranks)
        if not 1 < len(chosen) < self.size or not chosen <= set(self.ranks):
            return ""
        axes = [set(axis) for axis in zip(*map(self.coordinates, chosen), strict=True)]
        fixed = [(dim, axis) for dim, axis in zip(self.dims, axes, strict=True) if len(axis) == 1]
        free = [
            size for size, axis in zip(self.sizes, axes, strict=True) if len(axis) > 1 or size == 1
        ]
        if not fixed or len(chosen) != prod(free):
            return ""
        told = [(dim, axis) for dim, axis in fixed if self.sizes[self.dims.index(dim)] > 1]
        return ",".join(f"{dim}={axis.pop()}" for dim, axis in told)


@dataclass(frozen=True)
class GetMesh(Request):
    """Describe the mesh that a variable holds; the answer is a :class:`HeldMesh`."""

    name: str
    op = "get_mesh"


@dataclass(frozen=True)
class HeldMesh:
    """A rank's value of a name, if it is a mesh."""

    kind: str = ""
    """Its class; empty if there is no such variable."""
    dims: tuple[str, ...] = ()
    """For a mesh, names of its dimensions; empty if they have none."""
    sizes: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    has_ended: bool = False
    """Whether its groups have ended, and do not go on."""
