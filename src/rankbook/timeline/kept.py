"""The settled bars that are kept, and a note on those left out."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from rankbook.timeline.bars import FIELDS, Bar, Names, as_array, collective_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Kept"]

_KEY = ["generation", "group", "seq"]


class Kept:
    """Bars in the order in which they were settled; of too many, older ones are left out.

    One thread adds, others may read.

    Attributes:
        ops: Names of operations.
        groups: Names of groups.
        places: Lines that made calls, in words.
        edition: Rises when bars are left out; the indices of names change then, too.
        oldest: When the first bar was called; infinite if there is none.
    """

    def __init__(self, collectives: int = 20_000, bars: int = 400_000) -> None:
        """Keep none yet.

        Args:
            collectives: The most that are kept.
            bars: The same, of all ranks together.
        """
        self.ops, self.groups, self.places = Names(), Names(), Names()
        self.edition = 0
        self.oldest = math.inf
        self._lock = threading.Lock()
        self._most = (collectives, bars)
        self._rows = np.empty(0, FIELDS)
        self._new: list[NDArray[np.void]] = []
        self._count = 0
        self._collectives: set[tuple[int, str, int]] = set()
        self._stands_for = np.empty(0, np.int64)
        self._thinned_before = 0.0
        self._one_in = 1.0

    def add(self, bars: Iterable[Bar]) -> None:
        """Keep more bars."""
        bars = list(bars)
        if not bars:
            return
        with self._lock:
            self._new.append(as_array(bars, self.ops, self.groups, self.places))
            self._count += len(bars)
            self.oldest = min(self.oldest, *(bar.start for bar in bars))
            self._collectives.update(bar.key for bar in bars)
            while self._is_too_much() and self._thin():
                pass

    def __len__(self) -> int:
        return self._count

    def since(self, count: int) -> tuple[int, NDArray[np.void], Names, Names, Names]:
        """The present edition, all its bars but the first ``count``, and its names."""
        with self._lock:
            return self.edition, self._all()[count:], self.ops, self.groups, self.places

    @property
    def note(self) -> str:
        """A sentence about what was left out; empty if nothing was.

        The time in it is in UTC, in ISO 8601: the page that shows it knows the reader's zone.
        """
        if self._one_in <= 1:
            return ""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._thinned_before))
        about = "" if self._one_in == round(self._one_in) else "about "
        return (
            f"Before {when} {about}one collective in {self._one_in:.0f} is shown, "
            "rather a late or slow one than others."
        )

    def _all(self) -> NDArray[np.void]:
        if self._new:
            missing = self._count - len(self._rows)
            self._rows = np.concatenate([self._rows, *self._new])
            self._stands_for = np.concatenate([self._stands_for, np.ones(missing, np.int64)])
            self._new.clear()
        return self._rows

    def _is_too_much(self) -> bool:
        return len(self._collectives) > self._most[0] or self._count > self._most[1]

    def _thin(self) -> bool:
        """Of the older half of all collectives, leave out every second one, if there are two."""
        rows = self._all()
        which = collective_of(rows)
        n = which.max() + 1
        start = np.full(n, np.inf)
        np.minimum.at(start, which, rows["start"])
        late, slow = np.zeros(n), np.zeros(n)
        np.maximum.at(late, which, np.nan_to_num(rows["lateness"]))
        np.maximum.at(slow, which, np.nan_to_num(rows["duration"]))
        weight = np.zeros(n, np.int64)
        weight[which] = self._stands_for
        order = np.argsort(start, kind="stable")
        pairs = order[: n // 4 * 2].reshape(-1, 2)
        if len(pairs) == 0:
            return False
        # Of two neighbours, the one with the longest wait stays, or else the one that took longest.
        second = (late[pairs[:, 1]] > late[pairs[:, 0]]) | (
            (late[pairs[:, 1]] == late[pairs[:, 0]]) & (slow[pairs[:, 1]] > slow[pairs[:, 0]])
        )
        stays = np.where(second, pairs[:, 1], pairs[:, 0])
        leaves = np.where(second, pairs[:, 0], pairs[:, 1])
        weight[stays] += weight[leaves]
        gone = np.zeros(n, bool)
        gone[leaves] = True
        keep = ~gone[which]
        self._rows, self._stands_for = rows[keep], weight[which[keep]]
        self._count = len(self._rows)
        self.oldest = float(self._rows["start"].min())
        self.ops, self.groups = self._renamed("op", self.ops), self._renamed("group", self.groups)
        self.places = self._renamed("where", self.places)
        _, one_each = np.unique(which[keep], return_index=True)
        self._collectives = {
            (generation, self.groups[group], seq)
            for generation, group, seq in self._rows[_KEY][one_each].tolist()
        }
        self._thinned_before = float(start[order[n // 4 * 2]])
        self._one_in = float(weight[stays].sum() / len(stays))
        self.edition += 1
        return True

    def _renamed(self, field: str, names: Names) -> Names:
        """Keep only names that bars have, and renumber the bars."""
        used, self._rows[field] = np.unique(self._rows[field], return_inverse=True)
        return Names(names[i] for i in used)
