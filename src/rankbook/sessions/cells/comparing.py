"""Comparing what ranks called and made in a cell after it has ended, at no cost to the ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from rankbook.diagnosis import differing, left_behind, unlike
from rankbook.fingerprints import Comparison
from rankbook.models import Collective, Diagnosis, load
from rankbook.models.calls import GROUPS, SCRIPTS, Call, Fingerprint, Making, Slot
from rankbook.models.requests import GetCall, GetMaking
from rankbook.sessions.members import Members

__all__ = ["Compared", "Comparing", "verdict_on"]

_BUT = "It did not hang: check what came of it."


@dataclass(frozen=True)
class Compared:
    """What came of a comparison; nothing on what a rank no longer knows."""

    differing: tuple[Diagnosis, ...]
    """Verdicts of the kind ``mismatch``."""
    left_out: tuple[Diagnosis, ...]
    """Verdicts of the kind ``missing_rank``."""


class Comparing:
    """Compares cell after cell; asks ranks what they called only where they differ."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._comparison = Comparison()

    def compare(self, by_rank: Mapping[int, Iterable[Fingerprint]]) -> Compared:
        """Find what ranks called, or made, differently: the first such collective of each group.

        Args:
            by_rank: By rank that ran the cell, its fingerprint of each group that it has used.
        """
        found = self._comparison.compare(by_rank)
        differing = [verdict_on(self._members, slot) for slot in found.differing]
        left_out = [self._left_out(slot) for slot in found.left_out]
        return Compared(
            tuple(replace(one, summary=f"{one.summary} {_BUT}") for one in differing if one),
            tuple(one for one in left_out if one),
        )

    def _left_out(self, slot: Slot) -> Diagnosis | None:
        """The verdict on a call that some ranks have made, and others have not."""
        if slot.group.startswith((GROUPS, SCRIPTS)):
            return None  # a group of a script ends with it
        answers = _answers(self._members, slot)
        calls = _made(answers)
        # Not where a rank does not answer, or had made it before this session joined it.
        if not calls or len(answers) < len(slot.ranks) or len(calls) == len(slot.ranks):
            return None
        # A thread that goes on beside the cell may make it a moment later.
        if not all(call.by_main for call in calls.values()):
            return None
        return left_behind(_collectives(calls), slot.ranks, self._members.named_mesh)


def verdict_on(members: Members, slot: Slot) -> Diagnosis | None:
    """Ask ranks what they called as one collective, and say how that differs.

    Args:
        members: The ranks.
        slot: The collective, or the making of a group.
    """
    if slot.group.startswith(GROUPS):
        values = members.ranks(slot.ranks).look(GetMaking(slot)).values
        return unlike({rank: load(Making, value) for rank, value in values.items() if value})
    return differing(_collectives(_made(_answers(members, slot))), members.named_mesh)


def _answers(members: Members, slot: Slot) -> dict[int, Call | None]:
    """What ranks called as one collective; None: nothing, or they no longer know it."""
    values = members.ranks(slot.ranks).look(GetCall(slot)).values
    return {rank: load(Call, value) if value else None for rank, value in values.items()}


def _made(answers: Mapping[int, Call | None]) -> dict[int, Call]:
    return {rank: call for rank, call in answers.items() if call is not None}


def _collectives(calls: Mapping[int, Call]) -> dict[int, Collective]:
    return {rank: Collective.of(call, call.issued) for rank, call in calls.items()}
