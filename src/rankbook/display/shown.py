"""Who holds what: as a picture where there is a rich front end, else as text."""

from __future__ import annotations

from rankbook.display.pictures import svg, text
from rankbook.display.pictures.boards import boards
from rankbook.display.pictures.exchanges import exchange_boards
from rankbook.display.pictures.meshes import mesh_board
from rankbook.models.exchanges import Exchanges
from rankbook.models.meshes import NamedMesh
from rankbook.models.shown import Shown

__all__ = [
    "exchanges_to_html",
    "exchanges_to_text",
    "mesh_to_html",
    "mesh_to_text",
    "to_html",
    "to_text",
]


def to_text(shown: Shown) -> str:
    """What ranks hold, for a terminal or a screen reader."""
    return "\n\n".join(map(text.to_text, boards(shown)))


def to_html(shown: Shown) -> str:
    """The same as pictures; every style is inline, so that they survive in a saved notebook."""
    return "".join(map(svg.to_html, boards(shown)))


def exchanges_to_text(exchanges: Exchanges) -> str:
    """The inputs and outputs of a cell's collectives."""
    return "\n\n".join(map(text.to_text, exchange_boards(exchanges)))


def exchanges_to_html(exchanges: Exchanges) -> str:
    """The same as pictures."""
    return "".join(map(svg.to_html, exchange_boards(exchanges)))


def mesh_to_text(mesh: NamedMesh) -> str:
    """A named mesh as a grid of ranks."""
    return text.to_text(mesh_board(mesh.name, mesh))


def mesh_to_html(mesh: NamedMesh) -> str:
    """The same as a picture."""
    return svg.to_html(mesh_board(mesh.name, mesh))
