"""The RANKS of a magic: ``all``, ``0``, ``0,2``, ``0-3``, ``1:``, ``::2``, ``[0,2]``, ``-1``.

Where the ranks have a mesh with named dimensions, these select ranks, too: ``tp=0``,
``dp=1,tp=0``, ``dp=0-1``. Several conditions on one dimension add up (``dp=0,dp=2``); those on
different ones restrict each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rankbook.errors import InputError

if TYPE_CHECKING:
    from rankbook.models.meshes import NamedMesh

__all__ = ["label", "parse"]

_HELP = "use all, 0, 0,2, 0-3, 1:, ::2 or -1"
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?(?::(-?\d+)?)?")
_RANGE = re.compile(r"(\d+)-(\d+)")
_EQUALS = re.compile(r"\s*=\s*")


def parse(
    text: str | int | Iterable[int], world_size: int, mesh: NamedMesh | None = None
) -> tuple[int, ...]:
    """Read a selection of ranks.

    Args:
        text: A selection as typed, one rank, or several.
        world_size: Number of ranks in the group.
        mesh: The mesh whose dimensions it may name.

    Returns:
        The ranks in ascending order, each once.

    Raises:
        InputError: The selection is empty, malformed, or names a rank that does not exist.
    """
    if isinstance(text, int):
        text = str(text)
    if not isinstance(text, str):
        text = ",".join(str(rank) for rank in text)
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1].strip()
    if not inner:
        raise InputError(f"No ranks given: {_HELP}.")
    if inner.lower() == "all":
        return tuple(range(world_size))
    found: set[int] = set()
    if "=" in inner:
        found.update(_by_dimensions(_EQUALS.sub("=", inner), text, world_size, mesh))
    else:
        for part in inner.split(","):
            found.update(_part(part.strip(), text, world_size))
    if not found:
        raise InputError(f"{text!r} selects none of the {world_size} ranks: {_HELP}.")
    return tuple(sorted(found))


def _by_dimensions(inner: str, text: str, world_size: int, mesh: NamedMesh | None) -> Iterable[int]:
    """The ranks that satisfy conditions on the dimensions of a mesh."""
    wanted: dict[str, set[int]] = {}
    named = ""
    for part in filter(None, re.split(r"[,\s]+", inner)):
        dim, equals, at = part.rpartition("=")
        named = dim if equals else named
        if not named:
            raise InputError(
                f"{text!r} mixes ranks and dimensions: use either numbers or names like dp=0."
            )
        wanted.setdefault(named, set()).update(_along(named, at, text, world_size, mesh))
    assert mesh is not None  # noqa: S101 - _along has refused None
    for rank in mesh.ranks:
        place = dict(zip(mesh.dims, mesh.coordinates(rank), strict=True))
        if all(place[dim] in some for dim, some in wanted.items()):
            yield rank


def _along(dim: str, at: str, text: str, world_size: int, mesh: NamedMesh | None) -> Iterable[int]:
    """The coordinates that a condition allows: ``0``, ``0-1``, ``1:``, ``-1``."""
    if mesh is None:
        raise InputError(
            f"The ranks have no dimension {dim!r}: name dimensions first, for example "
            "%dist_mesh dp=2 tp=2."
        )
    if mesh.size != world_size:
        raise InputError(
            f"The mesh {mesh} was made for {mesh.size} ranks, and this group has {world_size}: "
            f"run %dist_mesh with sizes that make {world_size}."
        )
    if dim not in mesh.dims:
        raise InputError(f"The mesh {mesh} has no dimension {dim!r}.")
    size = mesh.sizes[mesh.dims.index(dim)]
    try:
        return _part(at, text, size)
    except InputError:
        raise InputError(
            f"{dim}={at} is not a place in the mesh {mesh}: {dim} goes from 0 to {size - 1}."
        ) from None


def _part(part: str, text: str, world_size: int) -> Iterable[int]:
    if match := _SLICE.fullmatch(part):
        bounds = [int(b) if b else None for b in match.groups()]
        if bounds[2] == 0:
            raise InputError(f"The step of {text!r} is 0: {_HELP}.")
        return range(world_size)[slice(*bounds)]
    if match := _RANGE.fullmatch(part):
        first, last = int(match[1]), int(match[2])
        if first > last:
            raise InputError(f"{part!r} runs backwards: use {last}-{first}.")
        return [
            _existing(first, text, world_size),
            *range(first, _existing(last, text, world_size) + 1),
        ]
    try:
        rank = int(part)
    except ValueError:
        raise InputError(f"{text!r} is not a selection of ranks: {_HELP}.") from None
    return [_existing(rank, text, world_size)]


def _existing(rank: int, text: str, world_size: int) -> int:
    if not -world_size <= rank < world_size:
        raise InputError(
            f"There is no rank {rank} in {text!r}: "
            f"this group has {world_size}, 0 to {world_size - 1}."
        )
    return rank % world_size


def label(ranks: Iterable[int], mesh: NamedMesh | None = None) -> str:
    """Write ranks as short as possible: ``0-3``, ``0,2``, ``0-1,5``.

    Args:
        ranks: The ranks.
        mesh: The mesh whose names may be shorter: ``dp=1``.
    """
    if mesh is not None and (name := mesh.name_of(ranks := set(ranks))):
        return name
    parts: list[str] = []
    run: list[int] = []
    for rank in [*sorted(set(ranks)), None]:
        if run and rank != run[-1] + 1:
            parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
            run = []
        if rank is not None:
            run.append(rank)
    return ",".join(parts)
