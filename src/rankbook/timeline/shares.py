"""How the time of a cell divides on each rank: computing, communicating, waiting for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rankbook.timeline.bars import collective_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rankbook.models.calls import Traffic

__all__ = ["Share", "shares"]


class Share(NamedTuple):
    """Parts of a cell's time, from its beginning to the end on the last rank; they add up to 1."""

    computing: float
    """In no wait of torch.distributed."""
    communicating: float
    """In calls that all their ranks had called."""
    waiting: float
    """In calls that another rank had yet to call, or never called."""
    done: float = 0.0
    """Its cell had ended, and that of another rank had not."""


def shares(
    rows: NDArray[np.void], traffic: Mapping[int, Traffic], started: float, ended: float
) -> dict[int, Share]:
    """Divide the time of a cell that has ended.

    How long a rank was held up is told by its own account. Which part of that was spent on others
    is that of its bars: of an asynchronous call the bar is longer than the wait.

    Args:
        rows: Settled bars, as rows of :data:`rankbook.timeline.FIELDS`.
        traffic: By rank, what it did in the cell.
        started: When the cell began, seconds since the epoch.
        ended: When it ended.

    Returns:
        By rank; empty where no rank called anything.
    """
    if not any(each.calls for each in traffic.values()):
        return {}
    rows = rows[(rows["start"] >= started) & (rows["start"] <= ended)]
    long, waits = np.nan_to_num(rows["duration"]), _waits(rows)
    seconds = max(each.computing + each.waiting for each in traffic.values())
    found = {}
    for rank, each in traffic.items():
        own = rows["rank"] == rank
        inside = float(long[own].sum())
        for_others = float(waits[own].sum()) / inside if inside else 0.0
        held_up = each.waiting / seconds if seconds else 0.0
        computed = each.computing / seconds if seconds else 0.0
        found[rank] = Share(
            computed, held_up * (1 - for_others), held_up * for_others, 1 - held_up - computed
        )
    return found


def _waits(rows: NDArray[np.void]) -> NDArray[np.float32]:
    """By bar, how long its rank waited in it for the last one, or for one that never came."""
    if not len(rows):
        return np.empty(0, np.float32)
    which = collective_of(rows)
    last = np.zeros(which.max() + 1, np.float32)
    np.maximum.at(last, which, np.nan_to_num(rows["lateness"]))
    long = np.nan_to_num(rows["duration"])
    waited = np.clip(np.nan_to_num(last[which] - rows["lateness"]), 0, long)
    found: NDArray[np.float32] = np.where(rows["failed"] != 0, long, waited)
    return found
