"""Following the notebook's working directory and module search path."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from rankbook import folders
from rankbook.engine.host import path
from rankbook.engine.jobs import Job
from rankbook.engine.operations import MAIN, operation
from rankbook.models.requests import Follow

__all__ = ["follow"]


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
    before, after = path.missing(request.before, kept), path.missing(request.after, kept)
    _Taken.entries = frozenset(before + after)
    # The working directory stays first.
    here = [each for each in kept if not each]
    sys.path[:] = [*here, *before, *filter(None, kept), *after]
