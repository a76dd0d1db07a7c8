"""What a cell does on a rank."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ON_HANG", "CellSpan", "Failure"]


ON_HANG = ("free", "report", "wait")
"""What to do when it is proven that a cell cannot end: free its ranks, only say so, nothing."""


@dataclass(frozen=True)
class Failure:
    """An exception on a rank."""

    ename: str
    """Name of its class."""
    evalue: str
    traceback: tuple[str, ...] = ()
    """Lines as IPython formats them, with ANSI colours."""
    when: float = 0.0
    """Seconds since the epoch, by the engine's clock."""
    freed: bool = False
    """Whether the cell ended here because the session interrupted it or freed the rank."""
    line: str = ""
    """Where in the cell: ``line 3: dist.all_reduce(x)``; empty if not in the cell itself."""


@dataclass(frozen=True)
class CellSpan:
    """When a cell ran on the ranks."""

    number: int
    """What tracebacks call it; 0 where it is not a cell of the notebook."""
    label: str
    """Its first line."""
    started: float
    """Seconds since the epoch by the notebook's clock."""
    ended: float | None = None
    """The same; None while it runs."""
    code: str = ""
    """All of it."""
    ranks: tuple[int, ...] = ()
    """Those that ran it."""
