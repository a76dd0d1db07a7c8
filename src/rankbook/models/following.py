"""The notebook's folder and module search path, which the ranks follow."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.wire import Request

__all__ = ["Follow"]


@dataclass(frozen=True)
class Follow(Request):
    """Take over the notebook's folder and module search path; the answer is None."""

    folder: str
    """The notebook's folder, if it exists here; empty: it is gone."""
    before: tuple[str, ...] = ()
    """Entries that the user added to the notebook's ``sys.path``, before Python's own folders."""
    after: tuple[str, ...] = ()
    """The same behind them."""
    op = "follow"
