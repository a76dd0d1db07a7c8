"""Giving the groups of an account new connections, once the ranks have met again."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

import torch.distributed as dist

from rankbook.distributed.healing import (
    accumulated,
    compiled,
    connections,
    counting,
    meshes,
    samplers,
    scalers,
    sharded,
    stale,
    steps,
    wrappers,
)
from rankbook.distributed.healing.account import Account, Held, Terms, note
from rankbook.distributed.healing.words import (
    Word,
    agreed_on,
    alone,
    diverged,
    exchange,
    former_word,
    give,
    meet,
    told_again,
)
from rankbook.distributed.stores import PrefixStore
from rankbook.replicas import Diverged

__all__ = ["Healed", "heal", "on_connected", "settle", "wait_for_others"]

_c10d: Any = import_module("torch.distributed.distributed_c10d")

on_connected: list[Callable[[Any], object]] = []
"""Called on the main thread with every ``ProcessGroup`` that has new connections."""


_USERS = "user:"
"""torch's prefix of a tag given by the user; other groups get a tag made by torch."""


@dataclass(frozen=True)
class Healed:
    """The outcome of healing on this rank."""

    kinds: tuple[str, ...] = ()
    """Kinds of objects that go on, in the plural: ``DDP modules``."""
    lost: tuple[str, ...] = ()
    """Kinds that do not."""
    waiting: tuple[str, ...] = ()
    """Kinds that wait until a replaced rank has them, too."""
    is_new: bool = False
    """Whether this rank had no groups and others had some."""
    diverged: tuple[Diverged, ...] = ()
    """Optimizers that have taken more steps on some ranks than on others."""


def heal(account: Account | None, *, clean: bool = False, has_failed: bool = False) -> Healed:
    """Have the groups of an account go on; call on every rank, after the new default group is made.

    A group goes on if all its members hold it and agree how it was made; a rank that comes without
    groups is given those that it is a member of. A group's object and name stay what they were, and
    so do the default group's. What cannot go on raises when it is used.

    Args:
        account: This rank's, its groups separated from their connections; None: it has none.
        clean: Let nothing go on, on any rank.
        has_failed: Whether the attempt before this one has failed on some rank, which may not have
            acted on what it was told then.

    Raises:
        RuntimeError: gloo could not connect a group.
        DistStoreError: A rank did not say within the timeout what it holds.
    """
    if has_failed and former_word().is_new:
        account = None  # what it was given then has ended, and it still has no objects
    held = account.held if account is not None else ()
    able = [] if clean or account is None else _able(account)
    found = wrappers.find({one.group: one.terms.name for one in held}).without(stale.refused())
    terms = tuple(one.terms for one in able)
    size = 0 if account is None else account.size
    taken = {**steps.taken(found.optimizers), **steps.taken_by_hooks(found.ddp)}
    is_new = account is None
    word = Word(terms, _count(account), found.standings, (), is_new, taken, size, found.amid)
    words = meet(told_again(word) if has_failed else word)
    _begin(found, words)
    # No other group gets the name of one that has ended: a mesh would find it by that name.
    _c10d._world.group_count = max(_c10d._world.group_count, *(word.count for word in words))
    rosters = [None if word.is_new else word.terms for word in words]
    agreed = agreed_on(rosters)
    going = [one for one in able if one.terms in agreed]
    if account is None and not clean:
        missed = [*_missed(agreed), *alone(rosters, dist.get_rank())]
        give(dist.get_rank(), missed)
        going = [Held(terms_missed, None) for terms_missed in missed]
    going = [Held(one.terms, _connect(one)) for one in going]
    alive, ended = found.split(_with_default(going))
    new = [rank for rank, word in enumerate(words) if word.is_new]
    whole = _without(going, new)
    alive, waiting = alive.apart(whole, stale.waiting())
    alive, parted = alive.parted(whole)
    stale.refuse_replaced(parted, new)
    alive, broken = _restart(alive, words, "heal")
    stale.wait(waiting, new)
    for _, module in waiting.ddp if new else ():
        counting.uncount(module)
    left = [one for one in held if one.terms not in [each.terms for each in going]]
    lost = [one.terms for one in left]
    # Also on a rank that was left out for a while, and returns to as many ranks as it knew.
    is_other = any(word.size not in (0, dist.get_world_size()) for word in words)
    shares: tuple[str, ...] = ()
    if account is not None and account.size != dist.get_world_size():
        shares = samplers.refuse(account.size, account.rank, dist.get_world_size())
    origin = f"for generation {account.generation}" if account is not None else ""
    if left:
        # A mesh of the same number of ranks follows the default group by its name, if it may.
        follows = not (clean or is_other)
        names = ["" if follows and one.terms.is_default else one.terms.name for one in left]
        stale.refuse(ended, dict(zip([one.group for one in left], names, strict=True)), origin)
    ended = ended.more(broken).more(parted)
    if account is not None and (left or broken.kinds):
        shares += sharded.refuse(origin, [module for _, module in ended.fsdp])
    if any(terms.is_default for terms in lost):
        compiled.forget()
    meshes.clear_caches()
    _tell(going)
    return Healed(
        (*alive.kinds, *_subgroups([one.terms for one in going])),
        (*ended.kinds, *shares, *_subgroups(lost)),
        waiting.kinds,
        account is None and any(word.size for word in words),
        diverged(words),
    )


def _begin(found: wrappers.Found, words: Sequence[Word]) -> None:
    """Have what is no wrapper forget the step that was cut, too."""
    steps.begin(found.optimizers)
    scalers.restart(found.optimizers, is_lost=any(word.is_new for word in words))
    accumulated.drop_with_zero_grad([module for _, module in found.fsdp], found.optimizers)


def settle() -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]:
    """Have wrappers go on that waited for a replaced rank, which now has them; on every rank.

    Returns:
        The kinds of those that go on, and of those that still wait, and the ranks that lack these.

    Raises:
        DistStoreError: A rank did not say within the timeout what it holds.
    """
    account = note()
    if account is None:
        return (), (), ()
    gc.collect()  # otherwise a mesh that is garbage might be the newest on some ranks
    found = wrappers.find({one.group: one.terms.name for one in account.held})
    meshes.unify(found.meshes, {one.terms.name for one in account.held})
    meshes.clear_caches()
    shards = tuple(kind for kind, _ in found.fsdp)
    word = Word((), 0, found.standings, shards, amid=found.amid)
    words = exchange("settle", word)
    kinds = [{*one.standings, *one.shards} for one in words]
    members = {one.group: one.terms.ranks for one in account.held}

    def is_everywhere(kind: str, group: Any) -> bool:
        return group in members and all(kind in kinds[rank] for rank in members[group])

    def lacking(kind: str, module: Any) -> set[int]:
        groups = wrappers.groups_of(module) if module in stale.waiting() else ()
        ranks = {rank for group in groups for rank in members.get(group, ())}
        return {rank for rank in ranks if kind not in kinds[rank]}

    complete = found.where(is_everywhere)
    stale.wait_for(found.less(complete), lacking)
    complete, _ = _restart(complete, words, "settle")
    steps.begin(found.optimizers)  # a scheduler that was copied has steps of before
    return complete.kinds, stale.release(complete), stale.lacking()


def wait_for_others() -> None:
    """Have the wrappers of this rank wait for :func:`settle`: it has just been given them.

    If that fails to come, as when another rank dies, they would begin a step that the other ranks
    refuse.
    """
    account = note()
    if account is not None:
        found = wrappers.find({one.group: one.terms.name for one in account.held})
        stale.wait(found, [dist.get_rank()])


def _restart(
    found: wrappers.Found, words: Sequence[Word], topic: str
) -> tuple[wrappers.Found, wrappers.Found]:
    """Restart wrappers at the next step; return those, and those that this torch cannot restart.

    Each topic has its own keys in the store: wrappers that wait are restarted later in the same
    generation, and would read what was said of them before.
    """
    broken = wrappers.Found()
    standings = [word.standings for word in words]
    cut = {kind for word in words for kind in word.amid}
    is_new = any(word.is_new for word in words)
    store = PrefixStore(topic, _c10d._get_default_store())
    for one, lack in wrappers.restart(found, standings, cut, store, is_new=is_new):
        stale.refuse_for_lack(one, lack)
        broken = broken.more(one)
    return found.less(broken), broken


def _missed(agreed: Collection[Terms]) -> list[Terms]:
    """Groups of other ranks with this rank as a member, in the same order on all ranks."""
    rank = dist.get_rank()
    missed = [terms for terms in agreed if rank in terms.ranks]
    return sorted(missed, key=lambda terms: terms.name)


def _with_default(held: Sequence[Held]) -> set[Any]:
    """These groups, and None if the default group is one of them."""
    return {one.group for one in held} | {None for one in held if one.terms.is_default}


def _without(held: Sequence[Held], ranks: Collection[int]) -> set[Any]:
    """Those groups that none of these ranks is a member of; None stands for the default one."""
    return _with_default([one for one in held if not set(ranks) & set(one.terms.ranks)])


def _tell(held: Sequence[Held]) -> None:
    for one in held:
        for tell in on_connected:
            tell(one.group)


def _able(account: Account) -> list[Held]:
    """The groups that can go on as far as this rank knows."""
    here = (dist.get_rank(), dist.get_world_size())
    if (account.rank, account.size) != here or not connections.is_possible():
        return []
    is_gloo = dist.get_backend() == "gloo"
    return [held for held in account.held if is_gloo and held.terms.backend == "gloo"]


def _count(account: Account | None) -> int:
    return account.count if account is not None else 0


def _connect(held: Held) -> Any:
    """Make a group with these arguments; the existing object, if any, takes its place.

    Returns:
        The group.
    """
    terms = held.terms
    if terms.is_default:
        if held.group is not None:
            connections.lend(held.group, dist.group.WORLD, terms.name)
        return dist.group.WORLD
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
    if held.group is None:
        return made
    connections.lend(held.group, made, terms.name)
    return held.group


def _subgroups(terms: Sequence[Terms]) -> tuple[str, ...]:
    return ("subgroups",) if any(not one.is_default for one in terms) else ()
