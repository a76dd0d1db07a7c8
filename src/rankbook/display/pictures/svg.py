"""A board as a picture for light and dark pages; it needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from rankbook.display import html
from rankbook.display.images import MONOSPACE, QUIET, document, image
from rankbook.display.pictures.blocks import Block, Board, Cell
from rankbook.display.pictures.text import to_text

__all__ = ["to_html"]

_WIDTH = 880
"""The widest row of blocks, pixels, unless one block is wider."""

_GAP = 18
_LINE = 17
"""Height of a line of text."""

_CELL = 24
"""Height of a cell with a number."""

_POOLED = 9
"""Side of a cell without a number."""

_CHARACTER = 7.3
"""Width of one of the font's characters at 12 pixels."""

_MORE, _LESS, _ODD = "#3b82f6", "#d97706", "#e5383b"
"""Colours of numbers above 0, below 0, and of NaN; a low opacity keeps text legible."""

_FRAME = "#8b929c"
"""Colour of the edges of cells, in light and dark."""

_MARGIN = 8


def to_html(board: Board) -> str:
    """The board as HTML: its title, its notes, the picture."""
    notes = "".join(f"<div>{escape(note)}</div>" for note in board.notes)
    head = f"{html.heading(board.title)}{notes}"
    if not any(board.rows):
        return head
    parts: list[str] = []
    y = width = 0.0
    for row in _aligned([[_Drawn.of(block) for block in row] for row in board.rows]):
        for line in _wrapped(row):
            x = 0.0
            for drawn in line:
                parts.append(f'<g transform="translate({x:.0f} {y:.0f})">{drawn.svg}</g>')
                x += drawn.width + _GAP
            width = max(width, x - _GAP)
            y += max(drawn.height for drawn in line) + _GAP
    told = to_text(board)
    picture = document(
        "".join(parts),
        width,
        max(y - _GAP, 0),
        title=board.title,
        description=told,
        font=MONOSPACE,
        margin=_MARGIN,
    )
    return f'{head}<div style="padding: 4px 0 8px">{image(picture, told)}</div>'


@dataclass(frozen=True)
class _Drawn:
    """A block, drawn at the origin."""

    svg: str
    width: float
    height: float

    @classmethod
    def of(cls, block: Block) -> _Drawn:
        parts: list[str] = []
        y = width = 0.0
        if block.title or block.place:
            gap = _GAP / 2 if block.title and block.place else 0
            parts.append(
                f'<text y="12"><tspan font-weight="600">{escape(block.title)}</tspan>'
                f'<tspan dx="{gap:.0f}" fill="{QUIET}">{escape(block.place)}</tspan></text>'
            )
            width = _CHARACTER * len(block.title + block.place) + gap
            y += _LINE + 2
        if block.rows:
            grid = _grid(block)
            parts.append(f'<g transform="translate(0 {y:.0f})">{grid.svg}</g>')
            width, y = max(width, grid.width), y + grid.height
        if block.note:
            y += _LINE
            parts.append(_text(block.note, 0, y - 3, anchor="start", quiet=True))
            width = max(width, _CHARACTER * len(block.note))
        return cls("".join(parts), width, y)


def _grid(block: Block) -> _Drawn:
    """The cells, with the names of rows and columns."""
    high = _POOLED if block.is_pooled else _CELL
    longest = max((len(cell.text) for row in block.rows for cell in row), default=1)
    longest = max(longest, *(len(top) for top in block.tops), 0) if block.tops else longest
    wide = high if block.is_pooled else max(_CELL + 4, longest * _CHARACTER + 10)
    left = max((len(side) for side in block.sides), default=0) * _CHARACTER
    left += 8 if block.sides else 0
    top = _LINE if block.tops else 0
    parts = [
        _text(name, left + (i + 0.5) * wide, top - 5, quiet=True)
        for i, name in enumerate(block.tops)
    ]
    for i, row in enumerate(block.rows):
        y = top + i * high
        if block.sides:
            parts.append(
                _text(block.sides[i], left - 8, y + high / 2 + 4, anchor="end", quiet=True)
            )
        parts += [
            _cell(cell, left + j * wide, y, wide, high, with_text=not block.is_pooled)
            for j, cell in enumerate(row)
        ]
    columns = max(map(len, block.rows))
    width, height = columns * wide, len(block.rows) * high
    parts.append(
        f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{height:.0f}" rx="2" '
        f'fill="none" stroke="{_FRAME}"/>'
    )
    return _Drawn("".join(parts), left + width, top + height)


def _cell(cell: Cell, x: float, y: float, wide: float, high: float, *, with_text: bool) -> str:
    if cell.weight is None:
        colour, strength = _ODD, 0.45
    else:
        colour, strength = (_LESS if cell.weight < 0 else _MORE), 0.06 + 0.54 * abs(cell.weight)
    edge = f' stroke="{_FRAME}" stroke-opacity="0.5"' if with_text else ""
    rect = (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{high:.0f}" fill="{colour}" '
        f'fill-opacity="{strength:.2f}"{edge}/>'
    )
    return rect + (_text(cell.text, x + wide / 2, y + high / 2 + 4) if with_text else "")


def _text(text: str, x: float, y: float, *, anchor: str = "middle", quiet: bool = False) -> str:
    colour = f' fill="{QUIET}"' if quiet else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{colour}>{escape(text)}</text>'


def _aligned(rows: list[list[_Drawn]]) -> list[list[_Drawn]]:
    """Rows with equal numbers of blocks, each as wide as the others in its column."""
    if len({len(row) for row in rows}) != 1:
        return rows
    widths = [max(drawn.width for drawn in column) for column in zip(*rows, strict=True)]
    return [
        [replace(drawn, width=width) for drawn, width in zip(row, widths, strict=True)]
        for row in rows
    ]


def _wrapped(blocks: Sequence[_Drawn]) -> list[list[_Drawn]]:
    """Blocks in lines that are not too wide."""
    lines: list[list[_Drawn]] = []
    width = 0.0
    for block in blocks:
        if not lines or width + block.width > _WIDTH:
            lines.append([])
            width = 0.0
        lines[-1].append(block)
        width += block.width + _GAP
    return lines
