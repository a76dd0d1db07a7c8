"""What to run so that ranks are replaced, in words."""

from __future__ import annotations

from collections.abc import Iterable

from rankbook.ranks import label, said

__all__ = ["how_to_replace", "named"]

_FEW = 4
"""Ranks that are written out one by one."""


def how_to_replace(ranks: Iterable[int]) -> str:
    """What to run so that ranks are replaced."""
    ranks = sorted(ranks)
    argument = ranks if len(ranks) <= _FEW else label(ranks)
    return f"%dist_restart {label(ranks)} (or restart_ranks({argument!r}))"


def named(ranks: Iterable[int]) -> str:
    """Ranks as a sentence begins with them: ``Rank 1``, ``Ranks 0-3``."""
    words = said(ranks)
    return words[0].upper() + words[1:]
