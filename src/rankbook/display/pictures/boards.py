"""From what ranks hold to the boards that show it, one for each tensor in it; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from rankbook.display.pictures.blocks import Board
from rankbook.display.pictures.meshes import mesh_board
from rankbook.display.pictures.shards import shard_boards
from rankbook.display.pictures.tensors import tensor_board, titled
from rankbook.models.meshes import HeldMesh, NamedMesh
from rankbook.models.shown import Part, Shown
from rankbook.ranks import label
from rankbook.words import in_words

__all__ = ["boards"]


def boards(shown: Shown) -> list[Board]:
    """Arrange what ranks hold, one board for each tensor in it."""
    found: list[Board] = []
    plain: list[tuple[list[int], str]] = []
    paths = dict.fromkeys(part.path for held in shown.by_rank.values() for part in held.parts)
    for path in paths:
        present = {
            rank: part
            for rank, held in shown.by_rank.items()
            for part in held.parts
            if part.path == path
        }
        found += _of_parts(_name(shown.expression, path), present, shown.mesh)
        plain += _plain(path, present)
    if plain:
        ranks = sorted({rank for some, _ in plain for rank in some})
        lines = tuple(f"[{label(some, shown.mesh)}] {text}" for some, text in plain)
        title = f"{shown.expression} on {in_words(ranks, shown.mesh)}".lstrip()
        found.append(Board(title, (), lines))
    more = max((held.more for held in shown.by_rank.values()), default=0)
    if more:
        found.append(Board(f"… and {more} more: show them one by one."))
    notes = tuple(_missing(shown))
    if not found:
        return [Board(shown.expression, notes=notes)]
    return [replace(found[0], notes=(*found[0].notes, *notes)), *found[1:]]


def _name(expression: str, path: str) -> str:
    return expression + (path if path.startswith("[") else f".{path}") if path else expression


def _missing(shown: Shown) -> Iterable[str]:
    errors: dict[str, list[int]] = {}
    for rank, held in shown.by_rank.items():
        if held.error:
            errors.setdefault(held.error, []).append(rank)
    for error, ranks in errors.items():
        yield f"{in_words(ranks, shown.mesh)}: {error}"
    if shown.silent:
        yield f"no answer from {in_words(shown.silent, shown.mesh)}"


def _of_parts(name: str, parts: Mapping[int, Part], mesh: NamedMesh | None) -> Iterable[Board]:
    """The boards of one name: one for each kind of thing that ranks hold under it."""
    meshes: dict[HeldMesh, list[int]] = {}
    tensors: dict[int, Part] = {}
    sharded: dict[int, Part] = {}
    for rank, part in parts.items():
        if part.mesh is not None:
            meshes.setdefault(part.mesh, []).append(rank)
        elif part.shard is not None:
            sharded[rank] = part
        elif part.values is not None:
            tensors[rank] = part
    for one, ranks in meshes.items():
        yield mesh_board(f"{titled(name)}device mesh on {in_words(ranks, mesh)}", one)
    yield from shard_boards(name, sharded)
    if tensors:
        yield tensor_board(name, tensors, mesh)


def _plain(path: str, parts: Mapping[int, Part]) -> Iterable[tuple[list[int], str]]:
    """For what is neither a tensor nor a mesh: ranks, and a line about them."""
    alike: dict[str, list[int]] = {}
    for rank, part in parts.items():
        if part.mesh is None and part.values is None:
            alike.setdefault(part.text or part.kind, []).append(rank)
    for text, ranks in alike.items():
        yield ranks, f"{path}{': ' if path else ''}{text}"
