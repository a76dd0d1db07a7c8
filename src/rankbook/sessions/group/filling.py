"""Giving replaced ranks what another rank holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from rankbook.errors import RankbookError
from rankbook.models import load
from rankbook.models.copies import Copies, Holdings, Settled
from rankbook.models.requests import Copy, GetDigests, GetHoldings, Request, Settle, Take
from rankbook.sessions.members import Members
from rankbook.words import agree, in_words, sentence_start

__all__ = ["Filled", "fill", "held_by_others", "lacking", "listed", "settle"]

_MANY = 8
"""How many names a sentence lists; it counts the others."""


@dataclass(frozen=True)
class Filled:
    """What replaced ranks were given."""

    ranks: tuple[int, ...]
    source: int
    names: tuple[str, ...]
    """The variables."""
    left: Mapping[str, str] = field(default_factory=dict)
    """The reason, by name of what was not copied, or by line of a cell that failed."""
    differing: tuple[str, ...] = ()
    """Names of values that differ among the other ranks."""
    loaded: tuple[str, ...] = ()
    """Modules and optimizers that all ranks loaded from a checkpoint."""
    checkpoint: str = ""

    def __str__(self) -> str:
        have = agree(self.ranks, "has", "have")
        names = f"its {listed(self.names)}" if self.names else "what its cells have defined"
        lines = [f"{sentence_start(in_words(self.ranks))} {have} from rank {self.source} {names}."]
        differing = [name for name in self.differing if name not in self.loaded]
        if differing:
            lines.append(
                f"These differ from rank to rank, and {in_words(self.ranks)} {have} those of "
                f"rank {self.source} now: {listed(differing)}."
            )
        if self.loaded:
            lines.append(f"All ranks have loaded {listed(self.loaded)} from {self.checkpoint}.")
        if self.left:
            reasons = "; ".join(f"{name} ({reason})" for name, reason in self.left.items())
            lines.append(f"Not copied: {reasons}.")
        lines.append("RNG states are not copied: seed all ranks where that matters.")
        return "\n".join(lines)


def listed(names: Sequence[str]) -> str:
    """Write names for a sentence, not too many: ``model, optimizer, loader``."""
    more = len(names) - _MANY
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:_MANY])} and {more} more"


def held_by_others(members: Members, ranks: Iterable[int]) -> tuple[str, ...]:
    """The variables that the lowest other rank holds, asked at any time."""
    others = sorted(set(members.living()) - set(ranks))
    held = _holdings(members, others[:1])
    return held[0].names if held else ()


def lacking(members: Members, ranks: Collection[int]) -> str:
    """Say what new ranks lack and others hold, and what to type; empty if nothing."""
    own = {name for held in _holdings(members, sorted(ranks)) for name in held.names}
    names = [name for name in held_by_others(members, ranks) if name not in own]
    if not names:
        return ""
    source = min(set(members.living()) - set(ranks))
    chosen = ",".join(map(str, sorted(ranks)))
    return (
        f"{sentence_start(in_words(ranks))} {agree(ranks, 'lacks', 'lack')} what the others hold: "
        f"{listed(names)}. %dist_restart {chosen} --from {source} copies it from rank {source}."
    )


def fill(
    members: Members,
    ranks: Collection[int],
    source: int,
    free: Callable[[Collection[int]], object],
    *,
    with_shards: bool,
) -> Filled:
    """Copy the variables of one rank to others that have joined its groups.

    Args:
        members: The ranks.
        ranks: The ranks to fill.
        source: The rank whose variables are copied.
        free: Ends what ranks do, if this is interrupted.
        with_shards: Whether sharded modules and optimizers are copied, without their values.

    Raises:
        RankbookError: A rank could not send or take them; the ranks to fill have none of them.
    """
    ranks = tuple(sorted(ranks))
    members.refuse_dead([source])
    others = sorted(set(members.living()) - set(ranks))
    held = _holdings(members, [source, *(rank for rank in others if rank != source)])
    groups, kept = _by_name(one.groups for one in held), _by_name(one.kept for one in held)
    left: dict[str, str] = {}
    while True:
        copy = Copy(ranks, tuple(left), with_shards)
        copies, buffers = _ask(members, [source], copy, free)
        sent = copies[source]
        take = Take(source, sent.names, sent.cells, groups, kept, sent.path)
        taken, _ = _ask(members, ranks, take, free, buffers)
        failed = {} if not sent.names else _failed(taken.values())
        if not failed:
            break
        left |= failed
    first = taken[ranks[0]]
    differing = _differing(members, others, first.names)
    unlike = {name: why for name, why in first.left.items() if name not in sent.unbound}
    return Filled(ranks, source, first.names, {**left, **sent.left, **unlike}, differing)


def _by_name(held: Iterable[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """By name, the groups that ranks have under it, in the order of the ranks."""
    found: dict[str, tuple[str, ...]] = {}
    for of_rank in held:
        for name, group in of_rank.items():
            found[name] = (*found.get(name, ()), group)
    return found


def settle(members: Members) -> dict[int, Settled]:
    """Have objects that waited for replaced ranks go on, on all ranks; by rank, which do.

    Raises:
        RankbookError: A rank did not say what it holds.
    """
    call = members.ranks().request(Settle())
    call.wait()
    call.raise_for_failure()
    return {rank: load(Settled, value) for rank, value in call.values.items()}


def _differing(members: Members, ranks: Sequence[int], names: tuple[str, ...]) -> tuple[str, ...]:
    """The variables that differ on these ranks."""
    call = members.all_of(ranks).request(GetDigests(names))
    call.wait()
    call.raise_for_failure()
    values = [call.values[rank] for rank in ranks]
    return tuple(name for name in names if len({of_rank.get(name) for of_rank in values}) > 1)


def _failed(taken: Iterable[Copies]) -> dict[str, str]:
    """What a rank could not set; it has then set nothing."""
    return {name: why for one in taken if not one.names for name, why in one.left.items()}


def _holdings(members: Members, ranks: Sequence[int]) -> list[Holdings]:
    call = members.ranks(ranks).look(GetHoldings())
    return [load(Holdings, call.values[rank]) for rank in ranks if rank in call.values]


def _ask(
    members: Members,
    ranks: Sequence[int],
    request: Request,
    free: Callable[[Collection[int]], object],
    buffers: Sequence[bytes] = (),
) -> tuple[dict[int, Copies], list[bytes]]:
    """Have ranks copy or take; frees them if this is interrupted."""
    call = members.all_of(ranks).request(request, buffers)
    try:
        call.wait()
    except BaseException:
        with suppress(RankbookError):  # the interrupt is what is reported
            free(ranks)
        call.forget()
        raise
    call.raise_for_failure()
    answers = {rank: load(Copies, call.values[rank]) for rank in ranks}
    return answers, [bytes(data) for data in call.buffers(ranks[0])]
