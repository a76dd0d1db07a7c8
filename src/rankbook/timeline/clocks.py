"""How far the clock of another host is ahead of the notebook's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Clock", "measure"]


class Clock(NamedTuple):
    """The clock of a host, compared with the notebook's."""

    offset: float = 0.0
    """Seconds by which it is ahead."""
    error: float = 0.0
    """Seconds by which that may be wrong."""


def measure(
    ask: Callable[[], float | None],
    now: Callable[[], float],
    times: int = 8,
    within: float = math.inf,
) -> Clock | None:
    """Compare clocks as NTP does.

    The other clock was read at some moment between question and answer; the middle is wrong by half
    of that time at most. The quickest of several exchanges is the most precise.

    Args:
        ask: Reads the other clock; None if there is no answer.
        now: Reads our own.
        times: Number of exchanges.
        within: Seconds after which none is begun.

    Returns:
        None if there was no answer at all.
    """
    best: Clock | None = None
    until = now() + within
    for _ in range(times):
        begin = now()
        if best is not None and begin >= until:
            break
        other = ask()
        end = now()
        if other is None:
            break
        error = max(0.0, end - begin) / 2
        if best is None or error < best.error:
            best = Clock(other - (begin + end) / 2, error)
    return best
