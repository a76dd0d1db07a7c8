"""Hangs that people have reported, each as a cell: what was written, and what must be said of it.

``source`` is where it was reported; the code is ours, as small as shows the kind. A line that ends
with ``# *`` must be named. Ranks are told as of the world: ``last`` is the highest one.
"""

from __future__ import annotations

from reported import (
    further,
    groups,
    main_rank_only,
    meeting,
    messages,
    orders,
    raised_by_torch,
    uneven_work,
    unseen_exceptions,
)
from reported.kind import ALL, BUT_FIRST, FIRST, FIRST_TWO, LAST, Reported

__all__ = [
    "ALL",
    "BUT_FIRST",
    "FIRST",
    "FIRST_TWO",
    "LAST",
    "REPORTED",
    "Reported",
]

REPORTED = [
    *uneven_work.HANGS,
    *main_rank_only.HANGS,
    *unseen_exceptions.HANGS,
    *groups.HANGS,
    *orders.HANGS,
    *messages.HANGS,
    *meeting.HANGS,
    *further.HANGS,
    *raised_by_torch.HANGS,
]
