"""The ranks of a mesh as a grid: its first dimension goes down, its second to the right. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import product

from rankbook.display.dashboard import rankparts as parts
from rankbook.display.facts import word
from rankbook.models import Look
from rankbook.models.meshes import NamedMesh

__all__ = ["to_html"]

_WIDEST = 16
"""The most columns of a grid that fits a page; beyond, the ranks' names give their places."""


def to_html(states: Sequence[Look], mesh: NamedMesh | None) -> str:
    """Render a mesh of two dimensions as one grid, of more as a grid for each place in the others.

    A mesh of one dimension is the list of ranks, which is shown anyway.

    Args:
        states: As a snapshot has them.
        mesh: The mesh of the ranks; None: they have none.
    """
    if mesh is None or len(mesh.sizes) < 2 or mesh.sizes[-1] > _WIDEST:  # noqa: PLR2004
        return ""
    looks = {state.info.rank: state for state in states if state.info}
    *outer, down, right = mesh.sizes
    grids = []
    for number, place in enumerate(product(*map(range, outer))):
        ranks = mesh.ranks[number * down * right : (number + 1) * down * right]
        title = " ".join(f"{dim}={at}" for dim, at in zip(mesh.dims, place, strict=False))
        grids.append(_grid(title or f"{mesh.name}: {mesh}", mesh, ranks, looks))
    return (
        '<div class="rb-meshes" tabindex="0" role="region" '
        f'aria-label="The mesh of the ranks">{"".join(grids)}</div>'
    )


def _grid(title: str, mesh: NamedMesh, ranks: Sequence[int], looks: Mapping[int, Look]) -> str:
    """One table: ``dp=0``, ``dp=1`` at the left, ``tp=0``, ``tp=1`` on top."""
    row, column = mesh.dims[-2:]
    right = mesh.sizes[-1]
    head = "".join(f'<th scope="col">{escape(column)}={at}</th>' for at in range(right))
    body = "".join(
        f'<tr><th scope="row">{escape(row)}={at}</th>'
        f"{''.join(_cell(rank, looks.get(rank)) for rank in ranks[at * right : (at + 1) * right])}"
        "</tr>"
        for at in range(mesh.sizes[-2])
    )
    return (
        f'<table class="rb-mesh-grid"><caption>{escape(title)}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cell(rank: int, look: Look | None) -> str:
    """A rank with the shape of its state, and the word for screen readers."""
    if look is None:
        return f"<td>{rank}</td>"
    return (
        f'<td class="{parts.state_class(look)}"><span class="rb-rank">{rank}</span> '
        f'<span class="rb-pill" title="{escape(word(look))}">{parts.mark(look)}'
        f'<span class="rb-unseen"> {escape(word(look))}</span></span></td>'
    )
