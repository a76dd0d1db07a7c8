"""Comparing what ranks called in a cell, once it has ended, at no cost to the ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from rankbook.diagnosis import differing
from rankbook.fingerprints import Comparison
from rankbook.models import Collective, Diagnosis, load
from rankbook.models.calls import Call, Fingerprint
from rankbook.models.requests import TellCall
from rankbook.sessions.members import Members

__all__ = ["Comparing"]

_BUT = "It did not hang: check what came of it."


class Comparing:
    """Compares cell after cell; only where ranks differ are they asked what they called."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._comparison = Comparison()

    def compare(self, said: Mapping[int, Iterable[Fingerprint]]) -> tuple[Diagnosis, ...]:
        """Find the first collective of each group that its members have called differently.

        Args:
            said: By rank, what it says of the groups that it has used.

        Returns:
            Verdicts of the kind ``mismatch``; none where what a rank called is no longer kept.
        """
        found = []
        for group, ranks, number in self._comparison.compare(said):
            generation = max(one.generation for its in said.values() for one in its)
            request = TellCall(group, ranks, generation, number)
            values = self._members.ranks(ranks).look(request).values
            calls = {rank: load(Call, value) for rank, value in values.items() if value}
            verdict = differing({r: Collective.of(call, call.issued) for r, call in calls.items()})
            if verdict is not None:
                found.append(replace(verdict, summary=f"{verdict.summary} {_BUT}"))
        return tuple(found)
