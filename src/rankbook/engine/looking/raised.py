"""Exceptions that explain what a rank does, although they have not ended its cell."""

from __future__ import annotations

import math
import threading
import time
import traceback
from dataclasses import replace
from sys import _current_frames
from typing import Any

from rankbook.engine.cells.failures import text
from rankbook.engine.looking import handling, owners, traces
from rankbook.engine.looking.kept import exceptions, left_by
from rankbook.engine.looking.leftovers import Leftovers
from rankbook.models import Failure, Look
from rankbook.models.looks import Kept

__all__ = ["Reasons", "with_what_left_it"]

_SETTLED = 0.025
"""Seconds without movement after which finding out is worth some milliseconds."""


class Reasons:
    """Finds the exceptions because of which this rank does what it does.

    To find them takes milliseconds, of each of many ranks that share a few cores. So what was found
    of a rank that waits is told again until it moves: till then no name of what it runs changes.
    """

    def __init__(self) -> None:
        self._asked = -math.inf
        self._found: dict[str, Any] = {}

    def add_to(self, seen: Look, shown: Failure | None) -> Look:
        """Add the exception that has not ended the cell: the rank does something because of it.

        Args:
            seen: What the rank does.
            shown: The exception that has ended its latest cell.
        """
        if shown is not None and not shown.freed:
            return _with_failure(seen, shown)
        if seen.state not in {"waiting", "running"} or seen.still < _SETTLED:
            return seen  # to find out costs some milliseconds
        if seen.state == "running" or seen.polls:  # that runs Python, or may do so in between
            return replace(seen, **_found(seen.state))
        now = time.monotonic()
        if now - min(seen.still, seen.since) > self._asked:
            self._asked, self._found = now, _found(seen.state)
        return replace(seen, **self._found)


def _found(state: str) -> dict[str, Any]:
    """What a look says of exceptions, where the rank is in this state."""
    main = threading.main_thread().ident or 0
    found = handling.raised_by(main, traces.passes_user_code)
    if found is not None:
        error, trace = found
        return {
            "handles": _in_a_line(type(error).__name__, text(error)),
            "raised_at": traces.line_of(trace) or traces.line_in_script(trace),
        }
    if state == "running":
        return {}
    dropped = handling.when_dropped(main, owners.is_user_code)
    at = owners.where(dropped) if dropped else ""
    return {"handles": "an exception", "raised_at": at} if at else _kept(main)


def _kept(thread: int) -> dict[str, Any]:
    """The exceptions that the rank has caught and kept, and where it stands."""
    kept = [
        Kept(
            _in_a_line(type(error).__name__, text(error)),
            traces.line_of(error.__traceback__) or traces.line_in_script(error.__traceback__),
            left_by(error, owners.is_user_code),
        )
        for error in exceptions(thread, owners.is_user_code)
    ]
    stack = ((f.f_code, line) for f, line in traceback.walk_stack(_current_frames().get(thread)))
    return {"kept": tuple(kept), "path": owners.path(stack)}


def with_what_left_it(seen: Look, leftovers: Leftovers) -> Look:
    """Add the exception that kept the object alive that the rank now destroys."""
    earlier = leftovers.being_destroyed(threading.main_thread().ident or 0)
    return _with_failure(seen, earlier) if earlier is not None else seen


def _with_failure(seen: Look, failure: Failure) -> Look:
    raised = _in_a_line(failure.ename, failure.evalue)
    return replace(seen, handles=raised, raised_at=failure.line)


def _in_a_line(name: str, message: str) -> str:
    return f"{name}: {message}".rstrip(": ").partition("\n")[0]
