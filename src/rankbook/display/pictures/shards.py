"""A DTensor, put together from the parts that ranks hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from rankbook.display.pictures.blocks import Block, Board
from rankbook.display.pictures.tensors import arranged, block_of, in_figures, largest_of, titled
from rankbook.models.meshes import NamedMesh
from rankbook.models.shown import Part, Shard, Values
from rankbook.words import in_words, plural, sentence_start

__all__ = ["shard_board"]

_Parts: TypeAlias = Mapping[int, Part]
"""By rank, what it holds of one DTensor."""

_Areas: TypeAlias = dict[tuple[tuple[int, ...], str], list[int]]
"""By where an area begins, and a hash of its numbers, the ranks that hold it."""

_BLOCKS = 16
"""Areas that are drawn at most."""


def shard_board(name: str, parts: _Parts) -> Board:
    """A DTensor: which rank holds which part of it.

    Args:
        name: Of the value; empty: it has none.
        parts: By rank, what it holds.
    """
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
    is_same = len({replace(_both(one)[0], coordinate=(), offset=()) for one in parts.values()}) == 1
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
    """The parts where they lie in the whole."""
    largest = largest_of(_both(part)[1] for part in parts.values())
    lines: dict[tuple[int, ...], list[Block]] = {}
    for (offset, _), ranks in sorted(areas.items())[:_BLOCKS]:
        part = parts[ranks[0]]
        block = block_of(in_words(ranks, mesh), _area(part), _both(part)[1], largest)
        lines.setdefault(offset[:-1], []).append(block)
    if len(areas) > _BLOCKS:
        lines[(-1,)] = [Block(f"… and {plural(len(areas) - _BLOCKS, 'other')}")]
    return tuple(map(tuple, lines.values()))


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
    """The ranks that hold each area, by its begin and its numbers; none if that is unknown."""
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
