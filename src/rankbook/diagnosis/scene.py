"""What a verdict is found in: all ranks at one moment, and who of them waits in vain."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from rankbook.diagnosis.calls import family, group, is_p2p, is_vague, slot
from rankbook.diagnosis.meetings import apart, is_certain, meets_of
from rankbook.diagnosis.sentences import Case
from rankbook.diagnosis.waits import Wait
from rankbook.diagnosis.wording import Words
from rankbook.models import Collective, Look
from rankbook.models.meshes import NamedMesh

__all__ = ["Finding", "Scene", "identity"]

_STILL = 0.4
"""Seconds of standing still after which looks at different moments can be taken together."""

_STILL_BESIDE_DEAD = 0.1
"""The same where a rank that is needed has ended: it will not come, but most ranks notice that
by themselves in this time."""

_QUIET = 1.0
"""Seconds in which no data comes or goes and no thread of the process computes, where a rank may
wait for an ``isend`` or ``irecv`` that nobody recorded: what it waits for may be on its way."""


@dataclass(frozen=True)
class Scene:
    """What all ranks do at about one time."""

    looks: Mapping[int, Look]
    waits: Mapping[int, Wait]
    stuck: tuple[int, ...]
    past: bool
    mesh: NamedMesh | None

    @property
    def words(self) -> Words:
        """How ranks and calls are told."""
        return Words(self.looks, past=self.past, mesh=self.mesh)

    def is_proven(self, rank: int) -> bool:
        """Whether a stuck rank is certain to stay so."""
        look, wait = self.looks[rank], self.waits[rank]
        if wait.unanswered or (meets_of(wait.call) and not self._is_met_by_ranks_only(rank)):
            return False
        if look.may_end or (wait.strangers and wait.call.makes):
            return False  # it has met other processes, or may do so, at an address of its own
        if wait.call.entries and any(look.threads for look in self.looks.values()):
            return False  # any of them may set the key
        if not wait.any_of and any(self.looks[other].state == "gone" for other in wait.needs):
            return look.still >= _STILL_BESIDE_DEAD
        # What a thread waits for may be on its way, and what its main thread waits for as well.
        is_recorded = not (is_p2p(wait.call) or is_vague(wait.call) or look.in_thread)
        at_rest = look.quiet >= _QUIET and (look.silent is None or look.silent >= _QUIET)
        return max(look.still, look.in_wait) >= _STILL and (is_recorded or at_rest)

    def _is_met_by_ranks_only(self, rank: int) -> bool:
        """Whether only ranks of the session can come to where one of them waits."""
        found = apart(self.looks, self.stuck)
        if found is not None:
            return rank in found.claims and is_certain(self.looks, found)
        call = self.waits[rank].call
        is_closed = call.meets is not None and call.meets.only_ranks
        return call.makes or (is_closed and not self.looks[rank].has_children)

    def ranks(self, state: str) -> tuple[int, ...]:
        """Ranks in a state, ascending."""
        return tuple(rank for rank, look in sorted(self.looks.items()) if look.state == state)

    def case(self, waiters: Iterable[int], suspects: Collection[int]) -> Case | None:
        """The call of ``waiters`` in which a suspect is missing; of the lowest, if of several."""
        by_call: dict[object, list[int]] = {}
        for rank in waiters:
            if self.waits[rank].needs & set(suspects):
                by_call.setdefault(identity(self.waits[rank].call), []).append(rank)
        cases = []
        for ranks in by_call.values():
            needed = frozenset[int]().union(*(self.waits[rank].needs for rank in ranks))
            behind = frozenset[int]().union(*(self.waits[rank].behind for rank in ranks))
            culprits = tuple(sorted((behind & set(suspects)) or (needed & set(suspects))))
            cases.append(Case(culprits, tuple(ranks), self.waits[ranks[0]].call))
        return min(cases, key=lambda case: (case.culprits[0], case.waiters), default=None)


@dataclass(frozen=True)
class Finding:
    """What a verdict says, and of whom."""

    kind: str
    culprits: tuple[int, ...]
    sentence: str
    hint: str = ""


def identity(call: Collective) -> object:
    """The same for calls that one sentence can speak of."""
    return slot(call) or (group(call), family(call.op), call.peer if is_p2p(call) else None)
