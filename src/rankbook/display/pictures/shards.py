"""A DTensor, put together from the parts that ranks hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from rankbook.display.pictures.blocks import Block, Board
from rankbook.display.pictures.tensors import arranged, block_of, in_figures, largest_of, titled
from rankbook.models.meshes import NamedMesh
from rankbook.models.shown import Part, Shard, Values
from rankbook.ranks import label
from rankbook.words import in_words, plural, ranks_do, sentence_start

__all__ = ["shard_boards"]

_Parts: TypeAlias = Mapping[int, Part]
"""By rank, what it holds of one DTensor."""

_Areas: TypeAlias = dict[tuple[tuple[int, ...], str], list[int]]
"""The ranks that hold an area, by where it begins and a hash of its numbers."""

_BLOCKS = 16
"""The most areas that are drawn."""


_MESHES = 8
"""The most meshes whose DTensors are drawn."""


def shard_boards(name: str, parts: _Parts) -> list[Board]:
    """A DTensor, or those of several meshes: which rank holds which part.

    With tensor parallelism each row of a mesh of two dimensions has its own DTensor.

    Args:
        name: Name of the value, empty if it has none.
        parts: By rank, what it holds.
    """
    outside = [rank for rank, part in parts.items() if not _both(part)[0].coordinate]
    inside = {rank: part for rank, part in parts.items() if rank not in outside}
    apart = _by_mesh(inside)
    found = [_board(name, some) for some in apart[:_MESHES]]
    if len(apart) > _MESHES:
        found.append(Board(f"… and {len(apart) - _MESHES} more, each on a mesh of its own"))
    if outside:
        note = f"{sentence_start(ranks_do(outside, 'is', 'are'))} not in its mesh."
        first = found[0] if found else Board(f"{titled(name)}DTensor")
        found[:1] = [replace(first, notes=(*first.notes, note))]
    return found


def _by_mesh(parts: _Parts) -> list[_Parts]:
    """The parts of each mesh; those of all where the meshes hold the same, or overlap."""
    found: dict[tuple[int, ...], dict[int, Part]] = {}
    for rank, part in parts.items():
        found.setdefault(_both(part)[0].mesh.ranks, {})[rank] = part
    are_alike = len({tuple(map(_content, some.values())) for some in found.values()}) == 1
    if _are_apart(found) and not are_alike:
        return [*found.values()]
    return [parts] if parts else []


def _are_apart(meshes: Iterable[Collection[int]]) -> bool:
    """Whether no rank is in two of them."""
    ranks = [rank for mesh in meshes for rank in mesh]
    return len(set(ranks)) == len(ranks)


def _content(part: Part) -> tuple[Shard, str] | Part:
    """What is equal in the parts of meshes that hold the same."""
    shard, values = _both(part)
    if not values.digest or len(shard.offset) != len(shard.shape):
        return part
    return _anywhere(shard), values.digest


def _anywhere(shard: Shard) -> Shard:
    return replace(shard, mesh=replace(shard.mesh, ranks=()))


def _board(name: str, parts: _Parts) -> Board:
    """One DTensor, or equal ones on meshes side by side."""
    shard, values = _both(next(iter(parts.values())))
    mesh = NamedMesh(
        shard.mesh.dims or tuple(f"dim {i}" for i in range(len(shard.mesh.sizes))),
        shard.mesh.sizes,
        shard.mesh.ranks,
    )
    how = "; ".join(
        f"{dim}={size}: {_placed(placement)}"
        for dim, size, placement in zip(mesh.dims, mesh.sizes, shard.placements, strict=True)
    )
    named = mesh if shard.mesh.dims else None
    what = f"DTensor {values.dtype} {in_figures(shard.shape)}"
    title = f"{titled(name)}{what} on {in_words(parts, named)}"
    places = {_anywhere(_both(one)[0]) for one in parts.values()}
    is_same = len({replace(one, coordinate=(), offset=()) for one in places}) == 1
    meshes = dict.fromkeys(_both(part)[0].mesh.ranks for part in parts.values())
    is_same = is_same and _are_apart(meshes)
    if len(meshes) > 1 and is_same:
        how += f", on each of ranks {' | '.join(map(label, meshes))}"
    areas = _areas(parts) if is_same and "Partial" not in how else {}
    notes = [how, *_doubts(parts, areas, named, is_same=is_same)]
    if areas:
        return Board(title, _by_area(parts, areas, named), tuple(notes))
    largest = largest_of(_both(part)[1] for part in parts.values())
    blocks: dict[tuple[int, ...], Block] = {
        (rank,): block_of(in_words([rank]), _where(rank, part, mesh), _both(part)[1], largest)
        for rank, part in parts.items()
    }
    return Board(title, arranged(blocks, mesh), tuple(notes))


def _by_area(parts: _Parts, areas: _Areas, mesh: NamedMesh | None) -> tuple[tuple[Block, ...], ...]:
    """The parts, in their places in the whole."""
    largest = largest_of(_both(part)[1] for part in parts.values())
    lines: dict[tuple[int, ...], list[Block]] = {}
    for (offset, _), ranks in sorted(areas.items(), key=_first)[:_BLOCKS]:
        part = parts[ranks[0]]
        block = block_of(in_words(ranks, mesh), _area(part), _both(part)[1], largest)
        lines.setdefault(offset[:-1], []).append(block)
    if len(areas) > _BLOCKS:
        lines[(-1,)] = [Block(f"… and {plural(len(areas) - _BLOCKS, 'other')}")]
    return tuple(map(tuple, lines.values()))


def _first(area: tuple[tuple[tuple[int, ...], str], list[int]]) -> tuple[object, ...]:
    """A sort key: where an area begins, then which ranks hold it."""
    return area[0][0], area[1]


def _doubts(
    parts: _Parts, areas: _Areas, mesh: NamedMesh | None, *, is_same: bool
) -> Iterable[str]:
    """What ranks that hold a DTensor should agree on, and do not."""
    if not is_same:
        yield "The ranks do not agree on its shape, its mesh, or how it lies there."
    by_offset: dict[tuple[int, ...], list[list[int]]] = {}
    for (offset, _), ranks in areas.items():
        by_offset.setdefault(offset, []).append(ranks)
    for sets in by_offset.values():
        if len(sets) > 1 and _both(parts[sets[0][0]])[1].digest:
            told = " and ".join(in_words(ranks, mesh) for ranks in sets)
            yield f"{sentence_start(told)} hold the same part, but not the same numbers."


def _both(part: Part) -> tuple[Shard, Values]:
    assert part.shard is not None and part.values is not None  # noqa: S101, PT018 - of a DTensor
    return part.shard, part.values


def _areas(parts: _Parts) -> _Areas:
    """The ranks that hold each area, by its start and its numbers; none if that is unknown."""
    found: _Areas = {}
    for rank, part in parts.items():
        shard, values = _both(part)
        if len(shard.offset) != len(shard.shape):
            return {}
        found.setdefault((shard.offset, values.digest), []).append(rank)
    return found


def _where(rank: int, part: Part, mesh: NamedMesh) -> str:
    return f"{mesh.place(rank)} {_area(part)}".strip()


def _area(part: Part) -> str:
    """Which part of the whole it is: ``[0:4, :]``."""
    shard, values = _both(part)
    if len(shard.offset) != len(shard.shape) or not shard.shape:
        return ""
    spans = [
        ":" if size == whole else f"{start}:{start + size}"
        for start, size, whole in zip(shard.offset, values.shape, shard.shape, strict=True)
    ]
    return f"[{', '.join(spans)}]"


def _placed(placement: str) -> str:
    if placement.startswith("Partial"):
        return f"{placement}, each rank holds a part of the result"
    return "replicated" if placement.startswith("Replicate") else placement
