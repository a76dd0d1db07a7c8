"""A rank's recorded calls, for the timeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from rankbook.models.wire import Request

__all__ = ["Entry", "EntryGroup", "GetTimeline", "Recorded", "Recording"]


@dataclass(frozen=True)
class GetTimeline(Request):
    """Report recorded calls; the answer is a :class:`Recording`."""

    after: int | None
    """Entries up to this one are known; None asks for the time only."""
    mark: str = ""
    """The mark of the last answer; nothing is reported if nothing has changed since."""
    op = "timeline"


@dataclass(frozen=True)
class Recorded:
    """One collective on one rank as torch's flight recorder kept it: a bar of the timeline."""

    id: int
    """The recorder's own number: consecutive on a rank, over all groups."""
    op: str
    """``all_reduce`` …"""
    group: str
    """torch's name of the process group, the same on all its ranks."""
    ranks: tuple[int, ...]
    """The group's global ranks; empty: every rank."""
    seq: int
    """Its number in the group, from 1: the same on all ranks."""
    generation: int
    """The session's process group under which it was called."""
    created: float
    """When it was called, seconds since the epoch by the engine's clock."""
    ended: float | None = None
    """When the call returned, or the work was done; None: it has not, or that was not seen."""
    done: bool = False
    """Whether it has completed."""
    nbytes: int = 0
    """Size of its input, bytes."""
    failed: bool = False
    """Whether the call raised: freed, interrupted, or left by its peers."""
    where: str = ""
    """The line that called it: ``In [4] line 2``; empty: not known."""


@dataclass(frozen=True)
class EntryGroup:
    """A process group of which a recording has entries."""

    name: str
    """torch's name, the same on all its ranks; ``name (2)`` for the second group of that name."""
    ranks: tuple[int, ...]
    """Its global ranks; empty: not known."""
    generation: int
    """The session's process group at that time."""
    rank: int
    """This engine's rank in it."""


class Entry(NamedTuple):
    """One collective in a recording; a row on the wire, because there may be thousands."""

    id: int
    op: int
    """Index in :attr:`Recording.ops`."""
    group: int
    """Index in :attr:`Recording.groups`."""
    seq: int
    created: float
    """When it was called, seconds since the epoch by the engine's clock."""
    ended: float | None
    """When it ended, by the same clock; None: not known, or not yet."""
    done: bool
    nbytes: int
    failed: bool
    where: int = 0
    """Index in :attr:`Recording.places`."""


@dataclass(frozen=True)
class Recording:
    """A rank's calls since the last request."""

    now: float
    """The engine's clock, s since the epoch; nothing that was called later is in here."""
    took: float = 0.0
    """The most seconds for which the answer kept the main thread from running Python."""
    mark: str = ""
    """The state of the recorder; empty if nothing is new, or it was not asked."""
    first: int = 0
    """The lowest id that the recorder still has; 0 if it has none."""
    ops: tuple[str, ...] = ()
    """Names of operations."""
    groups: tuple[EntryGroup, ...] = ()
    places: tuple[str, ...] = ("",)
    """Lines that made calls, in words; the first, empty one stands for none."""
    entries: tuple[Entry, ...] = ()
    """In the order of their calls."""

    def recorded(self, entry: Entry, ahead: float) -> Recorded:
        """An entry with its names filled in.

        Args:
            entry: An entry of this recording.
            ahead: Seconds by which the engine's clock is ahead of the reference clock.
        """
        group = self.groups[entry.group]
        return Recorded(
            id=entry.id,
            op=self.ops[entry.op],
            group=group.name,
            ranks=group.ranks,
            seq=entry.seq,
            generation=group.generation,
            created=entry.created - ahead,
            ended=None if entry.ended is None else entry.ended - ahead,
            done=entry.done,
            nbytes=entry.nbytes,
            failed=entry.failed,
            where=self.places[entry.where],
        )
