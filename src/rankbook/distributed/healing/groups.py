"""Giving the groups of an account new connections, once the ranks have met again."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

import torch.distributed as dist

from rankbook.distributed.healing import connections, stale, wrappers
from rankbook.distributed.healing.account import Account, Held, Terms
from rankbook.distributed.healing.reducers import Standing

__all__ = ["Healed", "heal", "on_connected"]

_c10d: Any = import_module("torch.distributed.distributed_c10d")

on_connected: list[Callable[[Any], object]] = []
"""Each is told of every ``ProcessGroup`` that has new connections, on the main thread."""


_USERS = "user:"
"""What torch puts before the tag that a group was given; others get one of torch's own."""


@dataclass(frozen=True)
class Healed:
    """What has come of it on this rank."""

    kinds: tuple[str, ...] = ()
    """What there is that goes on, in the plural: ``DDP modules``."""
    lost: tuple[str, ...] = ()
    """What does not."""


@dataclass(frozen=True)
class _Word:
    """What one rank tells the others."""

    terms: tuple[Terms, ...]
    count: int
    standings: Mapping[str, Sequence[Standing]]
    """By kind of DDP module, where the reducer of each stands."""


def heal(account: Account | None, *, clean: bool = False) -> Healed:
    """Have the groups of an account go on; on every rank, when the new default group was made.

    A group goes on if all its members hold it and agree how it was made. Its object and its name
    stay what they were, and so does the default group's. What cannot go on raises when it is used.

    Args:
        account: Of this rank, its groups separated from their connections; None: it has none.
        clean: Let nothing go on, on any rank.

    Raises:
        RuntimeError: gloo could not connect a group.
        DistStoreError: A rank did not say within the timeout what it holds.
    """
    held = account.held if account is not None else ()
    mine = [] if clean or account is None else _able(account)
    found = wrappers.find({one.group: one.terms.name for one in held})
    words = _exchange(_Word(tuple(one.terms for one in mine), _count(account), found.standings))
    # No name of a group that ended is given to another: a mesh would find it by that.
    _c10d._world.group_count = max(_c10d._world.group_count, *(word.count for word in words))
    said = [word.terms for word in words]
    going = [one for one in mine if is_agreed(one.terms, said)]
    for one in going:
        _connect(one)
    alive, ended = found.split({one.group for one in going})
    store = _c10d._get_default_store()
    wrappers.restart(alive, [word.standings for word in words], store)
    lost = [one.terms for one in held if one not in going]
    if account is not None and lost:
        is_other = account.size != dist.get_world_size()
        names = {its.name for its in lost if is_other or not its.is_default}
        stale.refuse(ended, names, account.generation)
    for one in going:
        for tell in on_connected:
            tell(one.group)
    return Healed(
        (*alive.kinds, *_subgroups([one.terms for one in going])),
        (*ended.kinds, *_subgroups(lost)),
    )


def is_agreed(terms: Terms, said: Sequence[Collection[Terms]]) -> bool:
    """Whether all members of a group hold it, made in the same way.

    Args:
        terms: Of the group.
        said: By rank, those of the groups that it holds.
    """
    return all(terms in said[rank] for rank in terms.ranks)


def _able(account: Account) -> list[Held]:
    """What can go on as far as this rank is concerned."""
    here = (dist.get_rank(), dist.get_world_size())
    if (account.rank, account.size) != here or not connections.is_possible():
        return []
    is_gloo = dist.get_backend() == "gloo"
    return [held for held in account.held if is_gloo and held.terms.backend == "gloo"]


def _count(account: Account | None) -> int:
    return account.count if account is not None else 0


def _exchange(word: _Word) -> list[_Word]:
    """Tell the others what this rank holds, and hear it from them; waits in Python."""
    store = _c10d._get_default_store()
    store.set(f"healing/{dist.get_rank()}", json.dumps(asdict(word)))
    return [_read(store.get(f"healing/{rank}")) for rank in range(dist.get_world_size())]


def _read(text: bytes) -> _Word:
    said = json.loads(text)
    terms = tuple(Terms(**{**one, "ranks": tuple(one["ranks"])}) for one in said["terms"])
    standings = {kind: [Standing(*one) for one in its] for kind, its in said["standings"].items()}
    return _Word(terms, said["count"], standings)


def _connect(held: Held) -> None:
    """Make a group as this one was made, and have this one take its place."""
    terms = held.terms
    if terms.is_default:
        connections.lend(held.group, dist.group.WORLD, terms.name)
        return
    ranks = {rank: place for place, rank in enumerate(terms.ranks)}
    made, _ = _c10d._new_process_group_helper(
        len(ranks),
        ranks[dist.get_rank()],
        list(ranks),
        _c10d.Backend(terms.backend),
        _c10d._get_default_store(),
        group_name=terms.name,
        timeout=timedelta(seconds=terms.seconds),
        pg_tag=terms.tag.removeprefix(_USERS) if terms.tag.startswith(_USERS) else None,
        group_desc=terms.description,
    )
    _c10d._world.pg_group_ranks[made] = ranks
    connections.lend(held.group, made, terms.name)


def _subgroups(terms: Sequence[Terms]) -> tuple[str, ...]:
    return ("subgroups",) if any(not its.is_default for its in terms) else ()
