"""Detecting, while a cell runs, the end of asynchronous calls that no code waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankbook.calls.ledger import Ledger

__all__ = ["SEE_ENDS", "seeing_ends"]

SEE_ENDS = 0.02
"""Seconds between two checks of asynchronous calls."""

_SEE_ENDS_LATER = 0.1
"""The same while calls follow one another, or none is open."""


def seeing_ends(ledger: Ledger) -> Callable[[], float]:
    """Detect ends of calls whose handles no code has waited for yet.

    Every issued call does this for the calls before it. So while calls follow one another, as in
    training, the control thread would take CPU time from the ranks for nothing.
    """
    last = ledger.last

    def see() -> float:
        nonlocal last
        before, last = last, ledger.last
        if last != before or not ledger.handles.held:
            return _SEE_ENDS_LATER
        ledger.settle()
        return SEE_ENDS

    return see
