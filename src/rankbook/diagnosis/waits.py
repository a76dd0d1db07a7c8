"""Who waits for whom, and who of those can never go on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rankbook.diagnosis.calls import (
    COMPLEMENT,
    HANDLE,
    alike,
    classes,
    family,
    group,
    is_handle,
    is_p2p,
    is_vague,
    slot,
)
from rankbook.diagnosis.makings import destroyed_at, has_come, is_half_made, misfit
from rankbook.diagnosis.meetings import meets_of, missing_from, unanswered, world
from rankbook.models import Collective, Look
from rankbook.models.calls import SCRIPTS

__all__ = ["Wait", "calls_at", "knots", "stuck_ranks", "survey"]

_Slot = tuple[str, int]
_Pair = tuple[str, int | None, int | None, str]

_AT_REST = 2.0
"""Seconds in which a rank neither computes nor gets data, after which it gets none any more."""

_BY_PARTS = "all_to_all"
"""The family of collectives for which each rank says how much it sends and expects. Of others the
sizes are compared; there a silence may be the network's."""

_STANDING = {"idle", "waiting", "gone"}
"""States of ranks that do nothing by themselves. Of one that gives no answer nothing is known, so
it may well go on."""


@dataclass(frozen=True)
class Wait:
    """What one rank waits for."""

    call: Collective
    """What it is in."""
    needs: frozenset[int]
    """The ranks that have not come to this call. Empty: all have, and it is under way."""
    any_of: bool = False
    """Whether one of them is enough."""
    behind: frozenset[int] = frozenset()
    """Of those, the ranks that have sent less than others, where a message from any is awaited."""
    clashes: bool = False
    """Whether ranks came with calls that do not match, so that it can never complete."""
    destroyed_by: frozenset[int] = frozenset()
    """Of the ranks that it needs, those that have destroyed the group."""
    strangers: frozenset[int] = frozenset()
    """Members of the group that is being made which are no ranks of the session."""
    left_out: bool = False
    """Whether it has ended on some ranks, and to the others nothing is on its way any more. So it
    may be with a group that they make."""
    unanswered: frozenset[int] = frozenset()
    """All that meet, if they have come and yet do not meet."""

    def can_go_on(self, moving: Collection[int]) -> bool:
        """Whether it completes once the ``moving`` ranks do their part."""
        if self.clashes or self.left_out or self.strangers or self.unanswered:
            return False
        enough = any if self.any_of else all
        coming = set(moving) - self.destroyed_by
        return not self.needs or enough(rank in coming for rank in self.needs)


def survey(looks: Mapping[int, Look]) -> dict[int, Wait]:
    """Find what every waiting rank waits for, by rank in ascending order."""
    calls = {
        rank: look.waiting or Collective(HANDLE)
        for rank, look in sorted(looks.items())
        if look.state == "waiting"
    }
    places = {place for call in calls.values() if (place := slot(call))}
    latest = {rank: _latest(look) for rank, look in looks.items()}
    exchanged = {rank: _exchanged(look) for rank, look in looks.items()}
    clashing = {place for place in places if len(classes(calls_at(looks, place))) > 1}
    needs = {rank: _needs(rank, looks, latest, exchanged, calls) for rank in calls}
    return {
        rank: Wait(
            call,
            needs[rank],
            any_of=is_vague(call) or (is_p2p(call) and call.peer is None),
            behind=_behind(rank, call, exchanged),
            clashes=slot(call) in clashing or misfit(looks, rank, call) is not None,
            destroyed_by=frozenset(
                other for other in needs[rank] if destroyed_at(looks[other], looks[rank], call)
            ),
            strangers=_strangers(call, looks),
            left_out=_is_left_out(rank, call, looks) or is_half_made(looks, rank, call),
            unanswered=frozenset(unanswered(rank, looks, calls)),
        )
        for rank, call in calls.items()
    }


def _strangers(call: Collective, looks: Mapping[int, Look]) -> frozenset[int]:
    makes = call.makes or _is_first(call)
    return frozenset(call.ranks) - looks.keys() if makes else frozenset()


def _is_first(call: Collective) -> bool:
    """Whether it is the meeting before a default group is made."""
    return family(call.op) == "init_process_group" and not call.makes


def _meets_first(call: Collective) -> bool:
    """Whether it is that meeting, and how many meet is known, not who.

    Of a script it is known who.
    """
    return _is_first(call) and not call.group.startswith(SCRIPTS)


def _is_left_out(rank: int, call: Collective, looks: Mapping[int, Look]) -> bool:
    """Whether a rank waits for data that no rank will send: some have had all, none gets any."""
    place = slot(call)
    if place is None or not family(call.op).startswith(_BY_PARTS):
        return False
    members = looks.keys() & set(call.ranks or looks)
    if len(members) < len(call.ranks):
        return False
    had = {m for m in members if any(slot(each) == place and each.done for each in looks[m].recent)}
    rest = [m for m in members if m not in had]
    return bool(had) and rank not in had and all(_rests_in(looks[m], place) for m in rest)


def _rests_in(look: Look, place: _Slot) -> bool:
    """Whether a rank waits in a collective, and neither computes nor gets data."""
    waits = look.waiting is not None and slot(look.waiting) == place
    return waits and min(look.still, look.quiet, look.silent or 0.0) >= _AT_REST


def calls_at(looks: Mapping[int, Look], place: _Slot) -> dict[int, Collective]:
    """What ranks called as one number of one group, completed or not, by rank."""
    found = {}
    for rank, look in looks.items():
        recorded = [call for call in look.recent if slot(call) == place]
        waiting = look.waiting if look.waiting and slot(look.waiting) == place else None
        # Only the wait knows the root; but the recorder knows what a wait that goes by the name of
        # a composite really is in.
        if waiting and all(family(call.op) == family(waiting.op) for call in recorded):
            found[rank] = waiting
        elif recorded:
            found[rank] = recorded[-1]
    return found


def _latest(look: Look) -> dict[str, int]:
    """The last number that a rank has called of each group."""
    found: dict[str, int] = {}
    if look.state == "gone":
        return found
    for call in (*look.recent, look.waiting) if look.waiting else look.recent:
        if place := slot(call):
            own, seq = place
            found[own] = max(seq, found.get(own, seq))
    return found


def _exchanged(look: Look) -> dict[_Pair, int]:
    """The last number of a rank's sends and receives: by direction, other end, tag and group."""
    found: dict[_Pair, int] = {}
    for call in (*look.recent, look.waiting) if look.waiting else look.recent:
        if is_p2p(call) and call.seq is not None:
            pair = family(call.op), call.peer, call.tag, group(call)
            found[pair] = max(call.seq, found.get(pair, 0))
    return found


def _needs(
    rank: int,
    looks: Mapping[int, Look],
    latest: Mapping[int, Mapping[str, int]],
    exchanged: Mapping[int, Mapping[_Pair, int]],
    calls: Mapping[int, Collective],
) -> frozenset[int]:
    call = calls[rank]
    others = latest.keys() - {rank}
    if is_handle(call):
        return frozenset(others)
    if call.ranks and not _meets_first(call):
        others &= set(call.ranks)
    if call.makes:
        return frozenset(other for other in others if not has_come(looks[other], looks[rank], call))
    if meets_of(call):
        return frozenset(missing_from(rank, calls, world(latest, call) - {rank}))
    if is_p2p(call):
        return _needs_of_p2p(rank, exchanged, calls, others)
    if place := slot(call):
        own, seq = place
        return frozenset(other for other in others if latest[other].get(own, seq - 1) < seq)
    return frozenset(
        other for other in others if other not in calls or not _meets(call, calls[other])
    )


def _needs_of_p2p(
    rank: int,
    exchanged: Mapping[int, Mapping[_Pair, int]],
    calls: Mapping[int, Collective],
    others: Collection[int],
) -> frozenset[int]:
    call = calls[rank]
    partners = frozenset(other for other in others if call.peer in (other, None))
    wanted = COMPLEMENT[family(call.op)]
    for partner in partners:
        pair = wanted, rank, call.tag, group(call)
        # The other end has issued its part if it has counted as far, whatever it does now.
        if call.seq and call.peer is not None and exchanged[partner].get(pair, 0) >= call.seq:
            return frozenset()
        if partner in calls and _is_counterpart(calls[partner], wanted, rank, call):
            return frozenset()
    return partners


def _behind(
    rank: int, call: Collective, exchanged: Mapping[int, Mapping[_Pair, int]]
) -> frozenset[int]:
    """The ranks that have sent less to one than others have; empty if all have sent the same."""
    if not is_p2p(call) or call.peer is not None:
        return frozenset()
    pair = COMPLEMENT[family(call.op)], rank, call.tag, group(call)
    sent = {
        other: known.get(pair, 0)
        for other, known in exchanged.items()
        if other != rank and (not call.ranks or other in call.ranks)
    }
    fewest = min(sent.values(), default=0)
    found = frozenset(other for other, count in sent.items() if count == fewest)
    return found if len(found) < len(sent) else frozenset()


def _is_counterpart(other: Collective, wanted: str, rank: int, call: Collective) -> bool:
    """Whether the call in which another rank waits is the other end of a send or recv."""
    if family(other.op) != wanted or group(other) != group(call) or other.peer not in (rank, None):
        return False
    if None not in (other.tag, call.tag) and other.tag != call.tag:
        return False
    # With both ends named, the numbers say whether it is this one.
    return None in (other.seq, call.seq, other.peer, call.peer) or other.seq == call.seq


def _meets(call: Collective, other: Collective) -> bool:
    """Whether two ranks that wait in calls without a number wait in the same one."""
    if call.entries:
        return False  # who waits for a key sets none
    return slot(other) is None and group(call) == group(other) and alike(call, other)


def stuck_ranks(looks: Mapping[int, Look], waits: Mapping[int, Wait]) -> tuple[int, ...]:
    """Ranks that wait and cannot go on, whatever those still do that run.

    The least fixed point: who moves frees those who wait for nobody else, and so on. What is never
    reached waits for ranks that have nothing left to do, or in a circle.
    """
    moving = {rank for rank, look in looks.items() if look.state not in _STANDING}
    while freed := {r for r in waits.keys() - moving if waits[r].can_go_on(moving)}:
        moving |= freed
    return tuple(rank for rank in waits if rank not in moving)


def knots(waits: Mapping[int, Wait], stuck: Collection[int]) -> list[tuple[int, ...]]:
    """Sets of stuck ranks each of which waits, over others maybe, for each; lowest ranks first.

    Vague calls are left out, as it is not known whom they are for.
    """
    edges = {rank: waits[rank].needs for rank in stuck if not is_vague(waits[rank].call)}
    reach = {rank: _reach(rank, edges) for rank in edges}
    found = {
        tuple(sorted(other for other in reach[rank] if rank in reach.get(other, ())))
        for rank in edges
        if rank in reach[rank]
    }
    return sorted(found)


def _reach(start: int, edges: Mapping[int, Collection[int]]) -> set[int]:
    found: set[int] = set()
    ahead = [start]
    while ahead:
        new = set(edges.get(ahead.pop(), ())) - found
        found |= new
        ahead.extend(new)
    return found
