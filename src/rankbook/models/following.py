"""Where the notebook is, and where it finds modules: the ranks do as it does."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.wire import Request

__all__ = ["Follow"]


@dataclass(frozen=True)
class Follow(Request):
    """Be in the notebook's folder and find modules where it does; the answer is None."""

    folder: str
    """Where there is one of that name; empty: the notebook's is gone."""
    before: tuple[str, ...] = ()
    """What a person has put into the notebook's ``sys.path``, before Python's own folders."""
    after: tuple[str, ...] = ()
    """The same behind them."""
    op = "follow"
