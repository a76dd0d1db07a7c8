"""What the ranks tell each other about their groups when they have met."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from typing import Any

import torch.distributed as dist

from rankbook.distributed.healing.account import Terms
from rankbook.distributed.healing.standings import Standing
from rankbook.distributed.stores import rank_key
from rankbook.replicas import Diverged
from rankbook.replicas import diverged as diverged_by_steps

__all__ = [
    "Word",
    "agreed_on",
    "alone",
    "diverged",
    "exchange",
    "former_word",
    "give",
    "meet",
    "roster",
    "told_again",
]

_c10d: Any = import_module("torch.distributed.distributed_c10d")


@dataclass(frozen=True)
class Word:
    """What one rank tells the others."""

    terms: tuple[Terms, ...]
    count: int
    standings: Mapping[str, Sequence[Standing]]
    """By kind of DDP module, the state of each reducer."""
    shards: tuple[str, ...] = ()
    """Kinds of FSDP modules."""
    is_new: bool = False
    """Whether it had no groups."""
    steps: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """The steps of optimizers since the ranks last met."""
    size: int = 0
    """The world size when it was last in a group."""
    amid: tuple[str, ...] = ()
    """Kinds of FSDP modules that are in the middle of a step."""


def exchange(topic: str, word: Word) -> list[Word]:
    """Exchange with the other ranks what each holds; waits in Python."""
    store = _c10d._get_default_store()
    store.set(rank_key(topic, dist.get_rank()), json.dumps(asdict(word)))
    ranks = range(dist.get_world_size())
    return [_read(store.get(rank_key(topic, rank))) for rank in ranks]


def _read(text: bytes) -> Word:
    content = json.loads(text)
    terms = tuple(Terms(**{**one, "ranks": tuple(one["ranks"])}) for one in content["terms"])
    standings = {
        kind: [Standing(*one)._replace(steps=tuple(one[3])) for one in items]
        for kind, items in content["standings"].items()
    }
    return Word(
        terms,
        content["count"],
        standings,
        tuple(content["shards"]),
        content["is_new"],
        content["steps"],
        content["size"],
        tuple(content["amid"]),
    )


def meet(word: Word) -> list[Word]:
    """Exchange what the ranks hold before anything is healed; :func:`roster` returns it later."""
    _Roster.own = word
    words = exchange("heal", word)
    _Roster.words = words
    return words


def former_word() -> Word:
    """What this rank told when the ranks last met, or would have."""
    return _Roster.own


def told_again(word: Word) -> Word:
    """A word with what this rank told before, where others may not have acted on that.

    No rank has run anything since. But this one may have dropped the step that was cut, and counts
    steps from 0 again.
    """
    former = former_word()
    amid = tuple(dict.fromkeys((*former.amid, *word.amid)))
    return replace(word, is_new=former.is_new, steps=former.steps, amid=amid)


def roster() -> list[tuple[Terms, ...]]:
    """By rank, the terms of the groups that it held when the ranks last met."""
    return [word.terms for word in _Roster.words]


def give(rank: int, terms: Sequence[Terms]) -> None:
    """Note that a rank that held no groups when the ranks met now holds these."""
    words = [*_Roster.words]
    words[rank] = replace(words[rank], terms=tuple(terms))
    _Roster.words = words


class _Roster:
    """What the ranks said when they last met."""

    words: Sequence[Word] = ()
    own = Word((), 0, {})
    """This rank's."""


def agreed_on(rosters: Sequence[Collection[Terms] | None]) -> set[Terms]:
    """The groups that all their members hold, made in the same way.

    Members find each other by the group's name. So groups that share a name, as when ranks call
    ``new_group`` with different members, cannot be made again.

    Args:
        rosters: By rank, the groups that it holds; None: it has none.
    """
    every = {terms for held in rosters if held is not None for terms in held}
    names = Counter(terms.name for terms in every)

    def is_held(terms: Terms) -> bool:
        heard = (rosters[rank] for rank in terms.ranks)
        return all(roster is None or terms in roster for roster in heard)

    return {terms for terms in every if names[terms.name] == 1 and is_held(terms)}


def alone(rosters: Sequence[Sequence[Terms] | None], rank: int) -> list[Terms]:
    """The groups of a new rank by itself: a dimension of 1 of a mesh gives every rank such a group.

    It ended with the rank's former process, and no other rank is a member of it.

    Args:
        rosters: By rank, the groups that it holds; None: it has none.
        rank: The new rank.
    """
    others = [[one for one in held if _is_alone(one)] for held in rosters if held is not None]
    kinds = [Counter(one.description for one in held) for held in others]
    return [
        replace(one, name=f"{one.name}/{rank}", ranks=(rank,))
        for one in (others[0] if others else ())
        if len({kind[one.description] for kind in kinds}) == 1  # else some are not in that mesh
    ]


def _is_alone(terms: Terms) -> bool:
    return len(terms.ranks) == 1 and terms.description.startswith(_OF_MESHES)


_OF_MESHES = "mesh_"
"""Begins torch's description of a group that a device mesh has made."""


def diverged(words: Sequence[Word]) -> tuple[Diverged, ...]:
    """The optimizers whose number of steps differs between ranks that were in one group."""
    if len({word.size for word in words if not word.is_new}) > 1:
        return ()  # a rank that was left out for a while counted other steps
    return diverged_by_steps([None if word.is_new else word.steps for word in words])
