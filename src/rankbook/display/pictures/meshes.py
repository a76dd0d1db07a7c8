"""A device mesh, arranged as a grid of ranks."""

from __future__ import annotations

from itertools import product

from rankbook.display.pictures.blocks import Block, Board, Cell
from rankbook.models.meshes import HeldMesh, NamedMesh

__all__ = ["mesh_board"]


def mesh_board(title: str, mesh: HeldMesh | NamedMesh) -> Board:
    """A mesh as a grid of ranks: the last dimension goes to the right, the one before down.

    Args:
        title: What it says above.
        mesh: What is drawn.
    """
    dims = mesh.dims or tuple(f"dim {i}" for i in range(len(mesh.sizes)))
    sizes = mesh.sizes
    shown = " ".join(f"{dim}={size}" for dim, size in zip(dims, sizes, strict=True))
    *outer, down, right = (1, 1, *sizes) if len(sizes) < 2 else sizes  # noqa: PLR2004
    blocks = []
    for number, place in enumerate(product(*map(range, outer))):
        start = number * down * right
        ranks = mesh.ranks[start : start + down * right]
        rows = tuple(
            tuple(Cell(str(rank)) for rank in ranks[row * right : (row + 1) * right])
            for row in range(down)
        )
        head = " ".join(f"{dim}={at}" for dim, at in zip(dims, place, strict=False))
        blocks.append(
            Block(
                head if len(sizes) > 2 else "",  # noqa: PLR2004
                rows=rows,
                sides=tuple(f"{dims[-2]}={i}" for i in range(down)) if len(sizes) > 1 else (),
                tops=tuple(f"{dims[-1]}={i}" for i in range(right)) if sizes else (),
            )
        )
    return Board(f"{title}: {shown}", (tuple(blocks),))
