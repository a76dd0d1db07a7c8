"""The end of an allocation, and the warnings before it."""

from __future__ import annotations

import time
from collections.abc import Callable

from rankbook.words import in_minutes

__all__ = ["TimeLimit"]

_WARN_AT = (120.0, 600.0)
"""Seconds before the end at which the user is warned, once each."""


class TimeLimit:
    """The end of an allocation.

    Args:
        what: The name of what ends: ``job 8``.
        ends_at: Seconds since 1970.
        clock: Returns the present time in the same way.
    """

    def __init__(self, what: str, ends_at: float, clock: Callable[[], float] = time.time) -> None:
        self.what = what
        self.ended = ""
        """Why it has ended, in a sentence without its full stop; empty while it has not."""
        self._ends_at = ends_at
        self._clock = clock
        self._warned = float("inf")

    @property
    def seconds_left(self) -> float:
        """Seconds until the end; 0 after it."""
        return max(0.0, self._ends_at - self._clock())

    def due_warning(self) -> str:
        """A sentence at ten and at two minutes before the end, once each; else empty."""
        if self.ended:
            return ""
        left = self.seconds_left
        passed = min((at for at in _WARN_AT if left <= at), default=float("inf"))
        if passed >= self._warned:
            return ""
        self._warned = passed
        return f"{self.what} ends in {in_minutes(left)}: what its ranks hold is lost then."
