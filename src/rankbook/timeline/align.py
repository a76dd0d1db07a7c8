"""What the ranks have recorded, put side by side: who came late to which collective."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from rankbook.models import Recorded
from rankbook.timeline.bars import NAN, Bar

__all__ = ["Alignment"]

_SURE = 0.1
"""Seconds by which an answer must be younger than a call to say that there was none before it."""

_PENDING = 1000
"""Collectives for which some rank may be waited for; of more, the oldest are given up."""

Key = tuple[int, str, int]


@dataclass
class _Call:
    """One collective, on the ranks of which it is known."""

    ranks: tuple[int, ...]
    by_rank: dict[int, Recorded] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)
    first: float = 0.0


class Alignment:
    """Collects what was recorded until nothing that is still to come can change a bar.

    A bar is *settled* when its collective has completed on its rank and it is certain who was the
    first to call it: every other rank of the group has called it, too, or had not yet when this one
    did. Until it has completed it is *open*.
    """

    def __init__(self) -> None:
        self._calls: dict[Key, _Call] = {}
        self._latest: dict[tuple[int, str, int], int] = {}
        self._until: dict[int, float] = {}
        self._reached: dict[int, int] = {}

    def take(
        self, rank: int, recorded: Iterable[Recorded], until: float, generation: int = 0
    ) -> None:
        """Take what a rank has answered.

        Args:
            rank: Which one.
            recorded: New collectives, and those that had not completed when it was asked last,
                by the notebook's clock; each that has completed only once.
            until: The moment up to which it would have told of others, by the same clock.
            generation: The group in which it is now.
        """
        self._until[rank] = max(until, self._until.get(rank, 0.0))
        self._reached[rank] = max(generation, self._reached.get(rank, 0))
        for one in recorded:
            key = (one.generation, one.group, one.seq)
            call = self._calls.setdefault(key, _Call(one.ranks))
            call.ranks = call.ranks or one.ranks
            call.by_rank[rank] = one
            call.first = min(known.created for known in call.by_rank.values())
            lane = (one.generation, one.group, rank)
            self._latest[lane] = max(one.seq, self._latest.get(lane, 0))

    def settle(self, silent: Collection[int] = (), gone: Collection[int] = ()) -> list[Bar]:
        """Return the bars that have become settled, each once.

        Args:
            silent: Ranks that do not answer, and are not waited for.
            gone: Ranks that have ended.
        """
        settled = []
        not_there = {*silent, *gone}
        for key, call in list(self._calls.items()):
            if len(call.told) == len(call.by_rank):
                continue
            missing = set(call.ranks or self._until) - call.by_rank.keys()
            lost = {rank for rank in missing if self._has_later(key, rank)}
            for rank, one in call.by_rank.items():
                over = rank in gone or self._reached.get(rank, 0) > one.generation
                if rank in call.told or not (one.done or over):
                    continue
                # Who was heard of since has not called it before, and so was not the first.
                since = one.created + _SURE
                unknown = lost | {r for r in missing if self._until.get(r, 0.0) < since}
                if over or unknown <= lost | not_there:
                    call.told.add(rank)
                    settled.append(_bar(rank, one, NAN if unknown else one.created - call.first))
            if call.told >= call.by_rank.keys() and missing <= lost:
                del self._calls[key]
        self._give_up_old()
        return settled

    def end(self) -> list[Bar]:
        """Settle everything: nothing more will come."""
        settled = [
            _bar(rank, one, one.created - call.first)
            for call in self._calls.values()
            for rank, one in call.by_rank.items()
            if rank not in call.told
        ]
        self._calls.clear()
        return settled

    def open(self) -> list[Bar]:
        """The bars of collectives that have not completed on their rank."""
        return [
            _bar(rank, one, one.created - call.first, is_open=True)
            for call in self._calls.values()
            for rank, one in call.by_rank.items()
            if rank not in call.told and not one.done
        ]

    def _has_later(self, key: Key, rank: int) -> bool:
        generation, group, seq = key
        return self._latest.get((generation, group, rank), 0) > seq

    def _give_up_old(self) -> None:
        finished = [k for k, call in self._calls.items() if len(call.told) == len(call.by_rank)]
        for key in finished[: max(0, len(self._calls) - _PENDING)]:
            del self._calls[key]


def _bar(rank: int, one: Recorded, lateness: float, *, is_open: bool = False) -> Bar:
    known = one.ended is not None and not is_open
    return Bar(
        start=one.created,
        duration=max(0.0, one.ended - one.created) if known and one.ended is not None else NAN,
        lateness=lateness,
        rank=rank,
        op=one.op,
        group=one.group,
        nbytes=one.nbytes,
        seq=one.seq,
        generation=one.generation,
    )
