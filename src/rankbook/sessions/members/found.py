"""Finding the process group that joined engines are in already, so that it can be kept as it is.

A notebook's kernel may be restarted, or die, while its engines go on. Everything here is
asked of their control threads: they may be busy, or stuck in a collective.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from rankbook.cluster.placement import Placement, place
from rankbook.errors import ClusterError
from rankbook.models import EngineFacts, GroupInfo, Look, load
from rankbook.models.requests import LookAt
from rankbook.ranks import label
from rankbook.sessions.members.members import Members

__all__ = [
    "Found",
    "find",
    "find_with_ended",
    "in_groups",
    "look",
    "newest",
    "placement",
    "refuse_silent",
]


_ENDED = -1
"""From here downwards go the numbers of engines that have ended before this session could ask."""


@dataclass(frozen=True)
class Found:
    """A process group that is whole, or would be if ranks of it lived."""

    engines: tuple[int, ...]
    """By rank."""
    groups: tuple[GroupInfo, ...]
    """By rank, its place in the group."""
    busy: tuple[int, ...] = ()
    """Ranks that do something."""

    @property
    def living(self) -> tuple[int, ...]:
        """Those engines that have not ended."""
        return tuple(engine for engine in self.engines if engine > _ENDED)


Seen: TypeAlias = Mapping[int, "Look | None"]
"""By engine, what it does and which group it is in; None of one that is there and silent."""


def look(members: Members) -> dict[int, Look | None]:
    """Ask the engines what they do and which group they are in; ended ones are left out."""
    engines = members.alive
    call = members.party({engine: engine for engine in engines}).request(LookAt())
    call.wait(members.timing.adopt)
    call.forget()
    # The channel says of an engine that it has ended; an agent can always say its state.
    ended = {engine for engine, error in call.failures.items() if error.kind == "EngineError"}
    values = call.values
    return {
        engine: load(Look, values[engine]) if engine in values else None
        for engine in engines
        if engine not in ended
    }


def refuse_silent(seen: Seen) -> None:
    """Raise if an engine is silent: it may be at work in a group.

    Raises:
        ClusterError: The message names it.
    """
    silent = sorted(engine for engine, state in seen.items() if state is None)
    if silent:
        one = len(silent) == 1
        engines = f"Engine {silent[0]} does" if one else f"Engines {label(silent)} do"
        which = "it where it was" if one else "them where they were"
        raise ClusterError(
            f"{engines} not answer and may be at work: try again, or end {which} started."
        )


def find(seen: Seen) -> Found | None:
    """The group that engines are in, if they agree about it and no rank is missing."""
    members = sorted(
        ((s.info, engine, s.state) for engine, s in seen.items() if s and s.info),
        key=lambda member: member[0].rank,
    )
    groups = tuple(info for info, _, _ in members)
    # The same on every rank of a group.
    terms = {(i.generation, i.backend, i.world_size, i.timeout_minutes, i.check) for i in groups}
    if len(terms) != 1 or [i.rank for i in groups] != list(range(groups[0].world_size)):
        return None
    busy = tuple(info.rank for info, _, state in members if state != "idle")
    return Found(tuple(engine for _, engine, _ in members), groups, busy)


def find_with_ended(seen: Seen) -> Found | None:
    """The group that all engines are in, if they agree about it and ranks of it are missing.

    A rank is missing whose process has ended: every engine that lives says which rank it is. Its
    engine is unknown by now, and has a number that none has.
    """
    infos = [look.info for look in seen.values() if look and look.info]
    if not infos or len(infos) < len(seen):
        return None
    ended = set(range(infos[0].world_size)) - {info.rank for info in infos}
    looks = {_ENDED - rank: Look("idle", info=_like(infos[0], rank)) for rank in ended}
    return find({**seen, **looks})


def _like(info: GroupInfo, rank: int) -> GroupInfo:
    """What a rank that has ended would say, if all ranks are on one host."""
    kind, _, numbered = info.device.partition(":")
    device = f"{kind}:{rank}" if numbered else kind
    return replace(info, rank=rank, local_rank=rank, device=device, is_main=rank == 0)


def newest(seen: Seen) -> int:
    """The highest number of a group that an engine is in; 0 if none is in one."""
    return max((s.info.generation for s in seen.values() if s and s.info), default=0)


def in_groups(seen: Seen) -> set[int]:
    """Engines that are in some group."""
    return {engine for engine, state in seen.items() if state and state.info}


def placement(
    found: Found, facts: Mapping[int, EngineFacts], alive: Collection[int]
) -> Placement | None:
    """Where the ranks of a group that was found stand; None if we would have placed it otherwise.

    Args:
        found: The group.
        facts: By engine; those of its ranks that live at least.
        alive: Every engine of the cluster.
    """
    of_living = next(iter(facts.values()))
    placed = place(
        [facts.get(engine) or replace(of_living, engine=engine) for engine in found.engines],
        before=found.engines,
    )
    local = [(p.engine, p.local_rank) for p in placed.places]
    if local != [(e, i.local_rank) for e, i in zip(found.engines, found.groups, strict=True)]:
        return None
    return replace(placed, spare=tuple(e for e in sorted(alive) if e not in found.engines))
