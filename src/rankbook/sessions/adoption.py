"""Finding the process group that joined engines are in already, so that it can be kept as it is.

A notebook's kernel may be restarted, or die, while its engines go on. All that is asked here is
answered on their control threads: they may be busy, or stuck in a collective.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from rankbook.cluster.channel import Channel, everyone
from rankbook.cluster.placement import Placement, place
from rankbook.errors import ClusterError
from rankbook.models import EngineFacts, GroupInfo, RankState, load
from rankbook.models.requests import SayState
from rankbook.ranks import label

__all__ = ["Found", "find", "newest", "placement", "refuse_silent", "states"]

_ANSWER_TIMEOUT = 5.0
"""Seconds for engines to answer; what one that does not is in is not known."""


@dataclass(frozen=True)
class Found:
    """A process group that is whole."""

    engines: tuple[int, ...]
    """By rank."""
    groups: tuple[GroupInfo, ...]
    """By rank, its place in the group."""
    busy: tuple[int, ...] = ()
    """Ranks that do something."""


Seen: TypeAlias = Mapping[int, RankState | None]
"""What engines do, and which group they are in; None of one that is there and does not say."""


def states(channel: Channel, engines: Collection[int]) -> dict[int, RankState | None]:
    """Ask engines what they do and which group they are in; who has ended is left out."""
    call = channel.request(everyone(engines, SayState()))
    channel.wait(call, _ANSWER_TIMEOUT)
    channel.forget(call)
    # It is the channel that says of an engine that it has ended; an agent can always say its state.
    ended = {engine for engine, its in call.failures.items() if its.kind == "EngineError"}
    return {
        engine: load(RankState, call.values[engine]) if engine in call.values else None
        for engine in engines
        if engine not in ended
    }


def refuse_silent(seen: Seen) -> None:
    """Raise if an engine does not say what it does: it may be at work in a group.

    Raises:
        ClusterError: The message names it.
    """
    silent = sorted(engine for engine, its in seen.items() if its is None)
    if silent:
        one = len(silent) == 1
        who = f"Engine {silent[0]} does" if one else f"Engines {label(silent)} do"
        which = "it where it was" if one else "them where they were"
        raise ClusterError(
            f"{who} not answer and may be at work: try again, or end {which} started."
        )


def find(seen: Seen) -> Found | None:
    """The group that engines are in, if they agree about it and no rank is missing."""
    members = sorted(
        ((its.info, engine, its.state) for engine, its in seen.items() if its and its.info),
        key=lambda member: member[0].rank,
    )
    groups = tuple(info for info, _, _ in members)
    # The same on every rank of a group.
    terms = {(i.generation, i.backend, i.world_size, i.timeout_minutes, i.check) for i in groups}
    if len(terms) != 1 or [i.rank for i in groups] != list(range(groups[0].world_size)):
        return None
    busy = tuple(info.rank for info, _, state in members if state != "idle")
    return Found(tuple(engine for _, engine, _ in members), groups, busy)


def newest(seen: Seen) -> int:
    """The highest number of a group that an engine is in; 0 if none is in one."""
    return max((its.info.generation for its in seen.values() if its and its.info), default=0)


def placement(
    found: Found, facts: Mapping[int, EngineFacts], alive: Collection[int]
) -> Placement | None:
    """Who is which rank in a group that was found; None if nobody would have placed it so.

    Args:
        found: The group.
        facts: By engine, of its ranks at least.
        alive: Every engine of the cluster.
    """
    placed = place([facts[engine] for engine in found.engines], before=found.engines)
    local = [(p.engine, p.local_rank) for p in placed.places]
    if local != [(e, i.local_rank) for e, i in zip(found.engines, found.groups, strict=True)]:
        return None
    return replace(placed, spare=tuple(e for e in sorted(alive) if e not in found.engines))
