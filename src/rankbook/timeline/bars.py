"""Bars of the timeline: one collective on one rank, by the notebook's clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FIELDS", "Bar", "Names", "as_array", "collective_of", "from_array"]

NAN = math.nan


class Bar(NamedTuple):
    """One collective on one rank."""

    start: float
    """When it was called, seconds since the epoch."""
    duration: float
    """Seconds until it returned, or the work was done; NaN: that was not recorded. Of an open bar,
    seconds in flight up to its rank's last answer; NaN: it still is in flight."""
    lateness: float
    """Seconds after the first rank that called it; NaN: not every rank is known."""
    rank: int
    op: str
    group: str
    nbytes: int
    """Size of its input."""
    seq: int
    """Its number in the group."""
    generation: int
    failed: bool = False
    """Whether it has ended without completing."""
    where: str = ""
    """The line that called it; empty: not known."""

    @property
    def key(self) -> tuple[int, str, int]:
        """Which collective it is, the same on all ranks."""
        return self.generation, self.group, self.seq


FIELDS = np.dtype(
    [
        ("start", "<f8"),
        ("duration", "<f4"),
        ("lateness", "<f4"),
        ("rank", "<i4"),
        ("op", "<i4"),
        ("group", "<i4"),
        ("nbytes", "<f8"),
        ("seq", "<i4"),
        ("generation", "<i4"),
        ("failed", "<i4"),
        ("where", "<i4"),
    ]
)
"""Bars as rows of an array; operation, group and line are indices into lists of names."""


class Names(list[str]):
    """Names and their indices, in order of arrival."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        super().__init__(names)
        self._index = {name: i for i, name in enumerate(self)}

    def index_of(self, name: str) -> int:
        """The index of a name; a new one is appended."""
        if name not in self._index:
            self._index[name] = len(self)
            self.append(name)
        return self._index[name]


def as_array(bars: Iterable[Bar], ops: Names, groups: Names, places: Names) -> NDArray[np.void]:
    """Bars as rows of :data:`FIELDS`; new names are added to ``ops``, ``groups``, ``places``."""
    rows = [
        bar._replace(
            op=ops.index_of(bar.op),  # type: ignore[arg-type]
            group=groups.index_of(bar.group),  # type: ignore[arg-type]
            where=places.index_of(bar.where),  # type: ignore[arg-type]
        )
        for bar in bars
    ]
    return np.array(rows, FIELDS)


def from_array(
    rows: NDArray[np.void], ops: Sequence[str], groups: Sequence[str], places: Sequence[str]
) -> list[Bar]:
    """The bars of an array that :func:`as_array` has made, by the names that it was given."""
    bars = (Bar._make(row) for row in rows.tolist())
    return [
        bar._replace(
            op=ops[int(bar.op)],
            group=groups[int(bar.group)],
            nbytes=int(bar.nbytes),
            failed=bool(bar.failed),
            where=places[int(bar.where)],
        )
        for bar in bars
    ]


def collective_of(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """The number of each bar's collective, from 0; sorting whole numbers is fastest."""
    scopes = (rows["generation"].astype(np.int64) << 32) + rows["group"]
    _, scope = np.unique(scopes, return_inverse=True)
    _, which = np.unique((scope << 32) + rows["seq"], return_inverse=True)
    return which
