"""A tensor of every rank, arranged as blocks of cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product

from rankbook.display.pictures.blocks import Block, Board, Cell
from rankbook.models.meshes import NamedMesh
from rankbook.models.shown import Part, Values
from rankbook.ranks import label
from rankbook.words import in_words, plural

__all__ = ["arranged", "block_of", "in_figures", "largest_of", "tensor_board", "titled"]

_SEPARATE = 8
"""The most ranks with a block each; of more, ranks that hold the same share one."""

_BLOCKS = 16
"""The most blocks of a board."""


def tensor_board(name: str, parts: Mapping[int, Part], mesh: NamedMesh | None) -> Board:
    """A tensor of every rank."""
    values = {rank: part.values for rank, part in parts.items() if part.values is not None}
    facts = {(one.dtype, one.shape) for one in values.values()}
    what = (
        f"{next(iter(facts))[0]} {in_figures(next(iter(facts))[1])}"
        if len(facts) == 1
        else "tensors of different shapes or dtypes"
    )
    title = f"{titled(name)}{what} on {in_words(values, mesh)}{_agreement(values, mesh)}"
    largest = largest_of(values.values())
    blocks = {
        ranks: block_of(
            in_words(ranks, mesh),
            mesh.place(ranks[0]) if mesh and len(ranks) == 1 else "",
            one,
            largest,
            says_shape=len(facts) > 1,
        )
        for ranks, one in _shared(values)
    }
    return Board(title, arranged(blocks, mesh))


def _shared(values: Mapping[int, Values]) -> list[tuple[tuple[int, ...], Values]]:
    """The ranks of each block, and what it shows: what all ranks have is shown once."""
    if len(values) <= _SEPARATE and len(set(map(_without_place, values.values()))) > 1:
        return [((rank,), one) for rank, one in values.items()]
    alike: dict[Values, list[int]] = {}
    for rank, one in values.items():
        alike.setdefault(_without_place(one), []).append(rank)
    return [(tuple(ranks), one) for one, ranks in alike.items()]


def _without_place(values: Values) -> Values:
    return replace(values, device="")


def arranged(
    blocks: Mapping[tuple[int, ...], Block], mesh: NamedMesh | None
) -> tuple[tuple[Block, ...], ...]:
    """Blocks in one row, or in the rows of the mesh where each of its ranks has one."""
    flat = tuple(blocks.values())
    if len(flat) > _BLOCKS:
        rest = f"… and {plural(len(flat) - _BLOCKS, 'other')}"
        return ((*flat[:_BLOCKS], Block(rest)),)
    singles = [ranks[0] for ranks in blocks if len(ranks) == 1]
    if mesh is None or len(mesh.sizes) < 2 or sorted(singles) != sorted(mesh.ranks):  # noqa: PLR2004
        return (flat,)
    right = mesh.sizes[-1]
    ordered = [blocks[rank,] for rank in mesh.ranks]
    return tuple(tuple(ordered[i : i + right]) for i in range(0, len(ordered), right))


def _agreement(values: Mapping[int, Values], mesh: NamedMesh | None) -> str:
    """Who holds the same: ``, the same``, ``, all differ``, ``, the same on ranks 0-1 | 2``."""
    alike: dict[str, list[int]] = {}
    for rank, one in values.items():
        if not one.digest:
            return ""
        alike.setdefault(f"{one.digest} {one.shape} {one.dtype}", []).append(rank)
    if len(values) == 1:
        return ""
    if len(alike) == 1:
        return ", the same"
    if len(alike) == len(values):
        return ", all differ"
    return f", the same on ranks {' | '.join(label(ranks, mesh) for ranks in alike.values())}"


def block_of(
    title: str, place: str, values: Values, largest: float, *, says_shape: bool = False
) -> Block:
    """The cells of a tensor."""
    columns = len(values.cells) // values.rows if values.rows else 0
    cells = [Cell(text, _weight(text, largest)) for text in values.cells]
    rows = tuple(tuple(cells[row * columns : (row + 1) * columns]) for row in range(values.rows))
    notes = [f"{values.dtype} {in_figures(values.shape)}"] if says_shape else []
    if values.why:
        notes.append(values.why)
    elif not math.prod(values.shape):
        notes.append("empty")
    if values.is_pooled and values.least:
        notes.append(f"{values.least} to {values.most}, mean {values.mean}")
    if values.odd:
        notes.append(f"{values.odd} NaN or infinite")
    return Block(title, place, rows, values.is_pooled, "; ".join(notes), _sides(values))


def _sides(values: Values) -> tuple[str, ...]:
    """The leading indices of each row, where a tensor has more than two dimensions."""
    if values.is_pooled or len(values.shape) < 3 or not values.rows:  # noqa: PLR2004
        return ()
    places = product(*map(range, values.shape[:-1]))
    return tuple(f"[{', '.join(map(str, place))}]" for place in places)


def titled(name: str) -> str:
    """The start of a title: the name, if there is one."""
    return f"{name}: " if name else ""


def largest_of(values: Iterable[Values]) -> float:
    """The largest absolute value among their finite numbers; never 0."""
    sizes = [
        abs(number) for one in values for text in one.cells if (number := _size(text)) is not None
    ]
    return max(sizes, default=0.0) or 1.0


def _weight(text: str, largest: float) -> float | None:
    number = _size(text)
    return None if number is None else number / largest


def _size(text: str) -> float | None:
    """The number that decides a colour; None if it is NaN or infinite."""
    if text in ("True", "False"):
        return float(text == "True")
    number = complex(text)
    size = number.real if not number.imag else abs(number)
    return size if math.isfinite(size) else None


def in_figures(shape: Sequence[int]) -> str:
    """Write a shape as torch does, ``[3, 4]``; ``scalar`` for one without dimensions."""
    return str(list(shape)) if shape else "scalar"
