"""Comparing what ranks called and made in a cell after it has ended, at no cost to the ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from rankbook.diagnosis import differing, unlike
from rankbook.fingerprints import Comparison
from rankbook.models import Collective, Diagnosis, load
from rankbook.models.calls import GROUPS, Call, Fingerprint, Making, Slot
from rankbook.models.requests import GetCall, GetMaking
from rankbook.sessions.members import Members

__all__ = ["Comparing", "verdict_on"]

_BUT = "It did not hang: check what came of it."


class Comparing:
    """Compares cell after cell; asks ranks what they called only where they differ."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._comparison = Comparison()

    def compare(self, by_rank: Mapping[int, Iterable[Fingerprint]]) -> tuple[Diagnosis, ...]:
        """Find what ranks called, or made, differently: the first such collective of each group.

        Args:
            by_rank: By rank, its fingerprint of each group that it has used.

        Returns:
            Verdicts of the kind ``mismatch``; none where what a rank called is no longer kept.
        """
        found = [verdict_on(self._members, slot) for slot in self._comparison.compare(by_rank)]
        return tuple(replace(one, summary=f"{one.summary} {_BUT}") for one in found if one)


def verdict_on(members: Members, slot: Slot) -> Diagnosis | None:
    """Ask ranks what they called as one collective, and say how that differs.

    Args:
        members: The ranks.
        slot: The collective, or the making of a group.
    """
    ranks = members.ranks(slot.ranks)
    if slot.group.startswith(GROUPS):
        values = ranks.look(GetMaking(slot)).values
        return unlike({rank: load(Making, value) for rank, value in values.items() if value})
    values = ranks.look(GetCall(slot)).values
    calls = {rank: load(Call, value) for rank, value in values.items() if value}
    collectives = {rank: Collective.of(call, call.issued) for rank, call in calls.items()}
    return differing(collectives, members.named_mesh)
