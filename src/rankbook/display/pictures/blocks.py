"""The parts of every picture: cells in blocks, blocks in rows. No colours and no sizes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Block", "Board", "Cell"]


@dataclass(frozen=True)
class Cell:
    """One number."""

    text: str
    weight: float | None = 0.0
    """Its share of the largest on the board, from -1 to 1; None: it is NaN or infinite."""


@dataclass(frozen=True)
class Block:
    """Cells that belong together, mostly what one rank holds."""

    title: str
    """``rank 0``."""
    place: str = ""
    """Beside the title: ``dp=0 tp=1``, ``[0:4, :]``."""
    rows: tuple[tuple[Cell, ...], ...] = ()
    is_pooled: bool = False
    """Whether each cell stands for many numbers: it is drawn without its text."""
    note: str = ""
    """Below the cells."""
    sides: tuple[str, ...] = ()
    """A name before each row, if any."""
    tops: tuple[str, ...] = ()
    """A name above each column, if any."""


@dataclass(frozen=True)
class Board:
    """One picture."""

    title: str
    rows: tuple[tuple[Block, ...], ...] = ()
    notes: tuple[str, ...] = ()
    """Lines below the title."""
