"""The recordings of all ranks side by side: which rank came late to which collective."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from rankbook.models import Recorded
from rankbook.timeline.bars import NAN, Bar

__all__ = ["Alignment"]

_SURE = 0.1
"""Seconds by which an answer must be younger than a call to say that there was none before it."""

_PENDING = 1000
"""Settled collectives that other ranks may still call; of more, the oldest are given up."""

Key = tuple[int, str, int]


@dataclass
class _Call:
    """One collective, on the ranks of which it is known."""

    ranks: tuple[int, ...]
    by_rank: dict[int, Recorded] = field(default_factory=dict)
    emitted: set[int] = field(default_factory=set)
    """Ranks whose bar is settled."""
    first: float = math.inf

    @property
    def is_settled(self) -> bool:
        """Whether the bar of every known rank has been emitted."""
        return len(self.emitted) == len(self.by_rank)

    def give_up(self, lateness: float | None = None) -> list[Bar]:
        """Settle the remaining bars as known now; without a ``lateness``, with the known one."""
        news = {rank: one for rank, one in self.by_rank.items() if rank not in self.emitted}
        self.emitted |= news.keys()
        return [
            _bar(rank, one, one.created - self.first if lateness is None else lateness, one.ended)
            for rank, one in news.items()
        ]


class Alignment:
    """Collects what was recorded until nothing that is still to come can change a bar.

    A bar is *settled* when its collective has completed on its rank and it is certain which rank
    called it first: every other rank of the group has called it, too, or had not yet when this one
    did. Until it has completed it is *open*.
    """

    def __init__(self, unsettled: int = 20_000) -> None:
        """Begin with nothing.

        Args:
            unsettled: The most collectives of which bars are not settled; of more, the oldest
                are, as far as they are known.
        """
        self._unsettled = unsettled
        self._calls: dict[Key, _Call] = {}
        self._latest: dict[tuple[int, str, int], int] = {}
        self._until: dict[int, float] = {}
        self._reached: dict[int, int] = {}
        self._left: dict[int, float] = {}

    def take(
        self, rank: int, recorded: Iterable[Recorded], until: float, generation: int = 0
    ) -> None:
        """Take what a rank has answered.

        Args:
            rank: Which one.
            recorded: New collectives, and those that had not completed at its last answer, by the
                notebook's clock; a completed one only once.
            until: The moment up to which the answer is complete, by the same clock.
            generation: The group in which it is now.
        """
        if generation > self._reached.get(rank, 0):  # the last answer from its earlier group
            self._left[rank] = self._until.get(rank, 0.0)
        self._until[rank] = max(until, self._until.get(rank, 0.0))
        self._reached[rank] = max(generation, self._reached.get(rank, 0))
        for one in recorded:
            key = (one.generation, one.group, one.seq)
            call = self._calls.setdefault(key, _Call(one.ranks))
            call.ranks = call.ranks or one.ranks
            call.by_rank[rank] = one
            call.first = min(call.first, one.created)
            lane = (one.generation, one.group, rank)
            self._latest[lane] = max(one.seq, self._latest.get(lane, 0))

    def settle(self, silent: Collection[int] = (), gone: Collection[int] = ()) -> list[Bar]:
        """Return the bars that have become settled, each once.

        Args:
            silent: Ranks that do not answer, and are not waited for.
            gone: Ranks that have ended, or that the group does not have any more.
        """
        settled = []
        absent = {*silent, *gone}
        for key, call in list(self._calls.items()):
            if call.is_settled:
                continue
            missing = set(call.ranks or self._members(key)) - call.by_rank.keys()
            lost = {rank for rank in missing if self._has_later(key, rank)}
            for rank, one in call.by_rank.items():
                over = rank in gone or self._reached.get(rank, 0) > one.generation
                if rank in call.emitted or not (one.done or over):
                    continue
                # A rank that answered since had not called it before, so it was not the first.
                since = one.created + _SURE
                unknown = lost | {r for r in missing if self._until.get(r, 0.0) < since}
                if over or unknown <= lost | absent:
                    call.emitted.add(rank)
                    lateness = NAN if unknown else one.created - call.first
                    settled.append(_bar(rank, one, lateness, one.ended or self._cut(rank, one)))
            # A call that has not completed is recorded once more when it has.
            is_done = all(one.done for one in call.by_rank.values())
            if call.is_settled and is_done and missing <= lost:
                del self._calls[key]
        settled += self._give_up_old()
        groups = {key[:2] for key in self._calls}
        self._latest = {lane: seq for lane, seq in self._latest.items() if lane[:2] in groups}
        return settled

    def end(self) -> list[Bar]:
        """Settle everything; later recordings of it are ignored."""
        return [bar for call in self._calls.values() for bar in call.give_up()]

    @property
    def size(self) -> int:
        """How much it remembers: collectives, and how far each rank of their groups has come."""
        return len(self._calls) + len(self._latest)

    @property
    def ranks(self) -> set[int]:
        """Every rank that has ever answered."""
        return set(self._until)

    def until(self, rank: int) -> float:
        """Up to when a rank's calls are known, by the notebook's clock; 0: it never answered."""
        return self._until.get(rank, 0.0)

    def open(self, moved: Collection[int] = ()) -> list[Bar]:
        """The bars of collectives that had not completed at their rank's last answer.

        Args:
            moved: Ranks that may have completed theirs since. The duration of these bars lasts to
                that answer; that of the others, still in flight, is NaN.
        """
        known = {rank: self.until(rank) for rank in moved}
        return [
            _bar(rank, one, one.created - call.first, known.get(rank), is_open=True)
            for call in self._calls.values()
            for rank, one in call.by_rank.items()
            if rank not in call.emitted and not one.done
        ]

    def _cut(self, rank: int, one: Recorded) -> float | None:
        """Until when a call lasted at least that was cut, and whose end nobody saw."""
        if one.done:
            return None
        known = (self._left.get(rank, 0.0), self.until(rank))
        return next((moment for moment in known if moment > one.created), None)

    def _has_later(self, key: Key, rank: int) -> bool:
        generation, group, seq = key
        return self._latest.get((generation, group, rank), 0) > seq

    def _members(self, key: Key) -> set[int]:
        """Ranks that may take part in a collective of a group whose members are not known."""
        return {rank for rank, generation in self._reached.items() if generation >= key[0]}

    def _give_up_old(self) -> list[Bar]:
        waiting = [call for call in self._calls.values() if not call.is_settled]
        settled = [bar for call in waiting[: -self._unsettled] for bar in call.give_up(NAN)]
        finished = [key for key, call in self._calls.items() if call.is_settled]
        for key in finished[:-_PENDING]:
            del self._calls[key]
        return settled


def _bar(
    rank: int, one: Recorded, lateness: float, until: float | None, *, is_open: bool = False
) -> Bar:
    return Bar(
        start=one.created,
        duration=NAN if until is None else max(0.0, until - one.created),
        lateness=lateness,
        rank=rank,
        op=one.op,
        group=one.group,
        nbytes=one.nbytes,
        seq=one.seq,
        generation=one.generation,
        failed=one.failed or not (one.done or is_open),
        where=one.where,
    )
