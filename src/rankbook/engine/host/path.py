"""Changing this process's module search path, ``sys.path``."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

__all__ = ["extend", "missing"]


def extend(entries: Sequence[str]) -> None:
    """Add what cells have added to another rank's, where its folders exist here.

    What precedes all that both have goes to the front.

    Args:
        entries: The other rank's.
    """
    own = list(sys.path)
    first = next((place for place, each in enumerate(entries) if each and each in own), 0)
    before, after = missing(entries[:first], own), missing(entries[first:], own)
    # The working directory stays first.
    here = [each for each in own if not each]
    sys.path[:] = [*here, *before, *filter(None, own), *after]


def missing(entries: Iterable[str], kept: Collection[str]) -> list[str]:
    """Those entries that are not among others, and exist on this host."""
    return [each for each in entries if each not in kept and Path(each).exists()]
