"""Following the notebook's working directory and module search path."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from rankbook import folders
from rankbook.engine.jobs import Job
from rankbook.engine.operations import MAIN, operation
from rankbook.models.requests import Follow

__all__ = ["extend_path", "follow"]


class _Taken:
    """The entries of ``sys.path`` that come from the notebook."""

    entries: frozenset[str] = frozenset()


@operation(Follow, on=MAIN)
def follow(_job: Job, request: Follow) -> None:
    """Take over the notebook's folder and ``sys.path``, where its folders exist here."""
    if request.folder not in ("", folders.here()):
        with suppress(OSError):  # another host has no such folder
            os.chdir(request.folder)
    kept = [each for each in sys.path if each not in _Taken.entries]
    before, after = _new(request.before, kept), _new(request.after, kept)
    _Taken.entries = frozenset(before + after)
    # The working directory stays first.
    here = [each for each in kept if not each]
    sys.path[:] = [*here, *before, *filter(None, kept), *after]


def extend_path(entries: Sequence[str]) -> None:
    """Add to ``sys.path`` what cells have added to another rank's, where its folders exist here.

    What precedes all that both have goes to the front.

    Args:
        entries: The other rank's.
    """
    own = list(sys.path)
    first = next((place for place, each in enumerate(entries) if each and each in own), 0)
    before, after = _new(entries[:first], own), _new(entries[first:], own)
    here = [each for each in own if not each]
    sys.path[:] = [*here, *before, *filter(None, own), *after]


def _new(entries: Iterable[str], kept: list[str]) -> list[str]:
    return [each for each in entries if each not in kept and Path(each).exists()]
