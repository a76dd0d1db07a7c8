"""Sums over the calls of a process: fingerprints by group, traffic by cell.

Calls are added up when the sums are requested, or when many calls have gathered: that is cheap per
call, and costs nothing when a call is issued.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from rankbook.calls.fingerprints import key_of
from rankbook.calls.records import (
    P2P,
    REFUSED,
    Group,
    Record,
    nbytes,
    site_of,
    what_must_agree,
)
from rankbook.models.calls import Fingerprint, Traffic

__all__ = ["Counts", "Totals"]

_CELLS = 64

_MOST = 4096
"""How many different calls are remembered."""

_BATCH = 512
"""How many calls may gather before they are added up."""


class Totals:
    """Sums of one cell."""

    __slots__ = ("calls", "nbytes", "waiting")

    def __init__(self) -> None:
        self.calls = self.nbytes = self.waiting = 0


class Counts:
    """Sums of one process; calls are added by the thread that issues them, read by any.

    Attributes:
        present: The sums of the running cell.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fresh: deque[Record] = deque()
        self._seen: dict[tuple[object, ...], tuple[int, int]] = {}
        """The summands of equal calls with one tensor."""
        self._cell: int | None = None
        self._totals: dict[int | None, Totals] = {None: Totals()}
        self.present = self._totals[None]

    @property
    def cell(self) -> int | None:
        """Number of the running cell; setting it begins a new sum."""
        return self._cell

    @cell.setter
    def cell(self, number: int | None) -> None:
        self._sum_up()
        while len(self._totals) >= _CELLS:
            del self._totals[next(iter(self._totals))]
        self._cell = number
        self.present = self._totals[number] = Totals()

    def add(self, record: Record) -> None:
        """Add a call."""
        if len(self._fresh) >= _BATCH:
            self._sum_up()  # without this one, which torch may refuse
        self._fresh.append(record)

    def traffic(self, cell: int | None) -> Traffic:
        """The sums of a cell, one of the latest 64."""
        self._sum_up()
        totals = self._totals.get(cell)
        if totals is None:
            return Traffic()
        return Traffic(totals.calls, totals.nbytes, totals.waiting / 1e9)

    def fingerprints(self, groups: Iterable[Group]) -> tuple[Fingerprint, ...]:
        """How far this process has come in groups that it has used since the last request."""
        self._sum_up()
        found = []
        for group in groups:
            count, hashes = group.fingerprint.news()
            if hashes:
                found.append(Fingerprint(group.key, group.ranks, group.generation, count, hashes))
        return tuple(found)

    def key(self, record: Record) -> int:
        """The key of a collective, the same on every rank that calls the same."""
        return self._look_up(record)[0]

    def _look_up(self, record: Record) -> tuple[int, int]:
        """Key and bytes of a call, computed once for equal calls."""
        site, group, dtypes = site_of(record), record.group, record.dtypes
        last = site.known
        if (
            last is not None
            and last[0] == record.elements
            and last[1] == dtypes
            and last[2] == record.root
            and last[3] is group.is_gloo
        ):
            return last[4]
        key = (site, record.root, record.elements, dtypes, group.is_gloo)
        known = self._seen.get(key)
        if known is None or len(dtypes) > 1:
            if len(self._seen) >= _MOST:
                self._seen.clear()
            known = self._seen[key] = key_of(what_must_agree(record)), nbytes(record)
        if len(dtypes) < 2:  # noqa: PLR2004 - of several tensors the elements do not tell the bytes
            site.known = record.elements, dtypes, record.root, group.is_gloo, known
        return known

    def _sum_up(self) -> None:
        """Add fresh calls to the fingerprints and the totals."""
        fresh, look_up = self._fresh, self._look_up
        with self._lock:
            while fresh:
                record = fresh.popleft()
                if record.number == REFUSED:
                    continue
                key, size = look_up(record)
                if (totals := self._totals.get(record.cell)) is not None:
                    totals.calls += 1
                    totals.nbytes += size
                if record.site.op not in P2P:
                    record.group.fingerprint.add(key)
