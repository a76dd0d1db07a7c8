"""A board for a terminal, for nbconvert's text, and for a screen reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rankbook.display.pictures.blocks import Block, Board

__all__ = ["to_text"]

_WIDTH = 100
"""The widest line, characters, where blocks are side by side."""


def to_text(board: Board) -> str:
    """The board as lines of text."""
    lines = [board.title, *board.notes]
    for number, row in enumerate(_aligned([list(map(_lines, row)) for row in board.rows])):
        lines += [""] if number and lines[-1] else []
        for some in _fitting(row):
            lines += _side_by_side(some)
    return "\n".join(lines)


def _lines(block: Block) -> list[str]:
    """A block, padded so that all lines are equally long."""
    lines = [f"{block.title}  {block.place}".strip()]
    if block.is_pooled:
        lines.append("(many numbers)" if not block.note else "")
    elif block.rows:
        lines += _grid(block)
    lines += [block.note] if block.note else []
    lines = [line for i, line in enumerate(lines) if line or i == 0]
    if not lines[0]:
        del lines[0]
    width = max(map(len, lines))
    return [line.ljust(width) for line in lines]


def _grid(block: Block) -> list[str]:
    texts = [[cell.text for cell in row] for row in block.rows]
    table = [list(block.tops), *texts] if block.tops else texts
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))
        for row in table
    ]
    if not block.sides:
        return lines
    sides = ["", *block.sides] if block.tops else list(block.sides)
    width = max(map(len, sides))
    return [f"{side.ljust(width)}  {line}" for side, line in zip(sides, lines, strict=True)]


def _aligned(rows: list[list[list[str]]]) -> list[list[list[str]]]:
    """Rows with equal numbers of blocks, each as wide as the others in its column."""
    if len({len(row) for row in rows}) != 1:
        return rows
    widths = [max(len(block[0]) for block in column) for column in zip(*rows, strict=True)]
    return [
        [[line.ljust(width) for line in block] for block, width in zip(row, widths, strict=True)]
        for row in rows
    ]


def _fitting(blocks: Sequence[list[str]]) -> Iterable[list[list[str]]]:
    """Blocks that fit side by side."""
    some: list[list[str]] = []
    width = 0
    for block in blocks:
        if some and width + len(block[0]) > _WIDTH:
            yield some
            some, width = [], 0
        some.append(block)
        width += len(block[0]) + 4
    if some:
        yield some


def _side_by_side(blocks: Sequence[list[str]]) -> list[str]:
    height = max(map(len, blocks))
    filled = [[*block, *[" " * len(block[0])] * (height - len(block))] for block in blocks]
    return ["    ".join(line).rstrip() for line in zip(*filled, strict=True)]
