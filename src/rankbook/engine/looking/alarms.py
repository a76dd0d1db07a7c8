"""Alarms that a person has set, which end what waits in Python."""

from __future__ import annotations

import signal

from rankbook.calls.waits import SOON
from rankbook.models import Look

__all__ = ["may_end"]


def may_end(look: Look) -> bool:
    """Whether an alarm of ``signal`` soon ends the wait of the main thread.

    Its handler runs where Python runs: in a loop that asks, in a wait for a thread, a key or ranks
    to meet; not within a call of torch. It may raise, as is usual, or set a flag.

    Args:
        look: The look at a rank that waits.
    """
    call = look.waiting
    in_python = look.polls or look.in_thread or (call and (call.entries or call.meets))
    return bool(in_python) and 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= SOON
