"""Where the time of ranks went: the calls of all of them side by side; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from rankbook.models.calls import Call
from rankbook.models.profiles import Share, Waited

__all__ = ["Meeting", "meetings", "share", "worst"]

_MOST = 3
_LEAST = 1e-3
"""Seconds; shorter waits are not worth a line."""

_INSTANT = 1e-6
"""Seconds that a call is drawn with whose end is not known."""

Key: TypeAlias = tuple[object, ...]
"""What is the same on all ranks of a call."""


@dataclass
class Meeting:
    """One collective, or a send and its recv, on the ranks that called it."""

    calls: dict[int, Call] = field(default_factory=dict)
    """By rank."""
    missing: tuple[int, ...] = ()
    """Ranks that never called it, though others waited for them."""

    @property
    def last(self) -> int:
        """The rank that came last, or never; of a send and its recv, the sender."""
        if self.missing:
            return self.missing[0]
        senders = [rank for rank, call in self.calls.items() if call.op == "send"]
        return senders[0] if senders else max(self.calls, key=lambda r: self.calls[r].issued)

    @property
    def all_there(self) -> float:
        """When the last one had come, seconds since the epoch; infinite if one never came."""
        return math.inf if self.missing else self.calls[self.last].issued

    def waits(self, rank: int) -> tuple[float, float]:
        """Seconds for which a rank waited in it until the last one had come, and after that."""
        call = self.calls[rank]
        begin = call.awaited or call.returned or call.issued
        # What was done before anybody waited for it held nobody up.
        end = max(begin, self.end(rank))
        there = min(max(self.all_there, begin), end)
        return there - begin, (end - there) + max(0.0, (call.returned or 0.0) - call.issued)

    def end(self, rank: int) -> float:
        """When it ended on a rank; of one that was never seen to end, when all had come."""
        call = self.calls[rank]
        if call.completed is not None:
            return call.completed
        there = 0.0 if self.missing else self.all_there
        return max(call.issued + _INSTANT, call.returned or 0.0, there)


def meetings(calls: Mapping[int, Sequence[Call]]) -> list[Meeting]:
    """Bring together what belongs together, in the order in which it began.

    Args:
        calls: By rank, by one clock.
    """
    found: dict[tuple[Key, int], Meeting] = {}
    reached: dict[tuple[Key, int], int] = {}
    for rank, known in calls.items():
        for call in known:
            group = _group(rank, call)
            found.setdefault((group, call.number), Meeting()).calls[rank] = call
            reached[group, rank] = max(call.number, reached.get((group, rank), 0))
    for (group, number), meeting in found.items():
        call = next(iter(meeting.calls.values()))
        # One that has called a later one had called this one, too: that is not kept any more.
        meeting.missing = tuple(
            other
            for other in _expected(call)
            if other not in meeting.calls and reached.get((group, other), 0) < number
        )
    return sorted(found.values(), key=lambda one: min(c.issued for c in one.calls.values()))


def _group(rank: int, call: Call) -> Key:
    """Where its number counts."""
    group = (call.generation, call.key or call.group, call.ranks)
    return (*group, call.tag, *_ends(rank, call)) if call.is_p2p else group


def _ends(rank: int, call: Call) -> tuple[int | None, int | None]:
    return (rank, call.peer) if call.op == "send" else (call.peer, rank)


def _expected(call: Call) -> tuple[int, ...]:
    if not call.is_p2p:
        return call.ranks
    # A send need not wait for its recv.
    return () if call.op == "send" or call.peer is None else (call.peer,)


def share(rank: int, main: int, seconds: float, met: Iterable[Meeting]) -> Share:
    """Where the time of a rank went.

    Args:
        rank: Which.
        main: The thread whose waits count: others' overlap with what it computes.
        seconds: How long the cell ran there.
        met: All meetings.
    """
    waited = communicated = 0.0
    for one in met:
        call = one.calls.get(rank)
        if call is not None and call.thread == main and call.awaited is not None:
            until, after = one.waits(rank)
            waited += until
            communicated += after
    communicated = min(communicated, max(0.0, seconds - waited))
    return Share(seconds, max(0.0, seconds - waited - communicated), communicated, waited)


def worst(met: Iterable[Meeting]) -> tuple[Waited, ...]:
    """The longest waits for other ranks, one for each meeting."""
    longest = sorted(filter(None, map(_longest, met)), key=lambda one: -one.seconds)
    return tuple(longest[:_MOST])


def _longest(meeting: Meeting) -> Waited | None:
    waits = {
        rank: meeting.waits(rank)[0]
        for rank, call in meeting.calls.items()
        if call.awaited is not None and rank != meeting.last
    }
    if not waits or max(waits.values()) < _LEAST:
        return None
    rank = max(waits, key=lambda r: waits[r])
    call = meeting.calls[rank]
    return Waited(
        rank,
        waits[rank],
        call.op,
        call.number,
        call.line,
        meeting.last,
        came=not meeting.missing,
    )
