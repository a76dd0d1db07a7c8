"""When asynchronous calls have ended that no code has waited for yet, while a cell runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankbook.calls.ledger import Ledger

__all__ = ["SEE_ENDS", "seeing_ends"]

SEE_ENDS = 0.02
"""Seconds between two looks at which asynchronous calls have ended."""

_SEE_ENDS_LATER = 0.1
"""The same while calls follow one another."""


def seeing_ends(ledger: Ledger) -> Callable[[], float]:
    """Have ends of calls seen whose handles somebody has yet to wait for.

    Every call that is issued does so for those before it: while calls follow one another, as in
    training, the control thread would take its turns, and the cores of the ranks, for nothing.
    """
    last = ledger.last

    def see() -> float:
        nonlocal last
        before, last = last, ledger.last
        if last != before:
            return _SEE_ENDS_LATER
        ledger.settle()
        return SEE_ENDS

    return see
