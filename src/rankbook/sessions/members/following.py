"""Having the ranks follow the notebook: its folder, and its module search path."""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from pathlib import Path

from rankbook import folders
from rankbook.models.requests import Follow
from rankbook.sessions.members.members import Members

__all__ = ["Following", "where"]

_PYTHONS = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
"""Folders of this Python; an engine's Python has its own."""


class Following:
    """Tells engines once where the notebook is, and again when that has changed."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._told: tuple[Follow, frozenset[int]] | None = None

    def tell(self) -> None:
        """Tell the ranks, before their next request, if there is anything new."""
        party = self._members.living()
        now = where(folders.here(), tuple(sys.path)), frozenset(party.engines.values())
        if now != self._told:
            self._told = now
            party.request(now[0]).forget()


@lru_cache(maxsize=1)  # asked before every cell
def where(folder: str, path: tuple[str, ...]) -> Follow:
    """What to tell the ranks.

    Args:
        folder: The notebook's folder; empty if it is gone.
        path: Its ``sys.path``.
    """
    own = [str(Path(folder, each)) if folder else each for each in path if each]
    first = next((i for i, each in enumerate(own) if _is_installed(each)), len(own))
    before = tuple(each for each in own[:first] if each != folder)
    return Follow(folder, before, tuple(e for e in own[first:] if not _is_installed(e)))


def _is_installed(entry: str) -> bool:
    return entry in _PYTHONS or entry.endswith(("lib-dynload", ".zip")) or "-packages" in entry
