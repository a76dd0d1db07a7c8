"""Comparing the calls of ranks in a group, by hashes that each rank keeps call by call.

The hash after ``n`` calls is a polynomial in their keys, so the hash of the calls between two
counts follows from the hashes at these counts: earlier differences do not affect later calls.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rankbook.models.calls import Fingerprint, Slot

__all__ = ["FACTOR", "MASK", "Compared", "Comparison", "packed"]

FACTOR, MASK = 0x5851F42D4C957F2D, (1 << 61) - 1

_KEPT = 1000
"""How many hashes are kept for each rank."""

_MOST = 1000
"""How many groups have hashes kept."""


def packed(hashes: Iterable[int]) -> str:
    """Hashes packed for the wire."""
    values = array("Q", hashes)
    if sys.byteorder == "big":
        values.byteswap()
    return base64.b64encode(values.tobytes()).decode()


def _unpacked(text: str) -> array[int]:
    values = array("Q", base64.b64decode(text))
    if sys.byteorder == "big":
        values.byteswap()
    return values


@dataclass
class _Member:
    """What one rank reported about a group."""

    count: int = 0
    told: list[tuple[int, str]] = field(default_factory=list)
    """Counts, and the packed hashes up to there; unpacked only when needed."""
    base: int = 0
    """The hash at the count up to which calls were compared."""

    def tell(self, count: int, hashes: str) -> None:
        self.count = count
        self.told.append((count, hashes))
        while len(self.told) > 1 and self.told[1][0] <= count - _KEPT:
            self.told.pop(0)

    def at(self, count: int) -> int | None:
        """The hash at a count; None if unknown."""
        for last, text in reversed(self.told):
            if count <= last:
                hashes = _unpacked(text)
                first = last - len(hashes) + 1
                if count >= first:
                    return hashes[count - first]
        return None


@dataclass
class _Group:
    members: dict[int, _Member]
    compared: int = 0
    """The count up to which the members' calls were compared."""
    behind: tuple[int, ...] = ()
    """By member, how many calls fewer than another's it had made when that was last told."""


@dataclass(frozen=True)
class Compared:
    """What came of a comparison, for each group at most one call."""

    differing: tuple[Slot, ...]
    """The first call that members made differently."""
    left_out: tuple[Slot, ...]
    """The first call that some members made, and others did not by the end of the cell."""


class Comparison:
    """Finds the first call in which the members of a group differ, or that some left out.

    They are compared at the last count that all of them have reached; calls beyond that are
    compared when all members have made them.
    """

    def __init__(self) -> None:
        self._generation = 0
        self._groups: dict[tuple[str, tuple[int, ...]], _Group] = {}

    def compare(self, by_rank: Mapping[int, Iterable[Fingerprint]]) -> Compared:
        """Take the reports of ranks after a cell, and compare.

        Args:
            by_rank: By rank that ran the cell, fingerprints of the groups that it has used.
        """
        differing, left_out = [], []
        for (name, ranks), group in self._take(by_rank).items():
            if (number := _first_difference(group)) is not None:
                differing.append(Slot(name, ranks, self._generation, number))
            elif by_rank.keys() >= set(ranks) and (number := _first_left_out(group)) is not None:
                left_out.append(Slot(name, ranks, self._generation, number))
        return Compared(tuple(differing), tuple(left_out))

    def _take(
        self, by_rank: Mapping[int, Iterable[Fingerprint]]
    ) -> dict[tuple[str, tuple[int, ...]], _Group]:
        """Take the reports of ranks; returns the groups that they have used."""
        touched: dict[tuple[str, tuple[int, ...]], _Group] = {}
        for rank, fingerprints in by_rank.items():
            for one in fingerprints:
                if one.generation < self._generation:
                    continue
                if one.generation > self._generation:
                    self._generation, touched = one.generation, {}
                    self._groups.clear()
                group = self._groups.get((one.group, one.ranks))
                if group is None:
                    while len(self._groups) >= _MOST:
                        del self._groups[next(iter(self._groups))]
                    members = {member: _Member() for member in one.ranks}
                    group = self._groups[one.group, one.ranks] = _Group(members)
                if rank in group.members:
                    group.members[rank].tell(one.count, one.hashes)
                    touched[one.group, one.ranks] = group
        return touched


def _first_left_out(group: _Group) -> int | None:
    """The first call that some members have not made; None if that is no news."""
    counts = [member.count for member in group.members.values()]
    behind = tuple(max(counts) - count for count in counts)
    is_news, group.behind = behind != group.behind, behind
    return min(counts) + 1 if is_news and any(behind) else None


def _first_difference(group: _Group) -> int | None:
    members = list(group.members.values())
    start, end = group.compared, min(member.count for member in members)
    at_end = [member.at(end) for member in members]
    if end <= start or None in at_end:
        return None  # a member may be too far ahead: compared when the others follow
    number = None
    if not _agree(members, start, end):
        # Once the calls differ, so do all later hashes.
        low, number = start, end
        while number - low > 1:
            middle = (low + number) // 2
            if _agree(members, start, middle):
                low = middle
            else:
                number = middle
    for member, value in zip(members, at_end, strict=True):
        member.base = value or 0
    group.compared = end
    return number


def _agree(members: list[_Member], start: int, count: int) -> bool:
    """Whether all made the same calls between two counts, as far as is known."""
    factor = pow(FACTOR, count - start, MASK + 1)
    hashes = {
        (value - member.base * factor) & MASK
        for member in members
        if (value := member.at(count)) is not None
    }
    return len(hashes) <= 1
