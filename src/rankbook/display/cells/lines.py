"""Merging what N ranks print: the same line from several ranks becomes one.

A rank's items (lines and rich displays) stay in order. An item waits a moment for other ranks to
print the same, as long as they can: they still run, and have printed nothing else meanwhile. How
long is *patience*: it starts optimistic, is halved each time the wait was in vain, and is restored
when it paid. So ranks that print in step are merged, and a rank that prints alone is soon shown
without delay. For notices, which libraries give to every rank where they may be far from in step,
there is another, longer patience. There is no clock in here; callers pass the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["LONGEST", "SHORTEST", "Item", "Merged", "Merger"]

LONGEST = 0.05
"""Patience to begin with, seconds."""

_LONGEST_FOR_NOTICES = 0.4
"""The same for a notice: ranks that share few cores come to a warning some tenths apart."""

_FOR_REPLIES = 0.4
"""The same for what ranks say to a command of the debugger, after it was typed."""

SHORTEST = 0.001
"""The least patience, seconds."""

_NOTICEABLE = 0.008
"""Seconds of a vain wait that the user may notice; ranks in step differ by less."""

_FLOOD = 256
"""How many items may wait; with more, none waits: there is too much to read anyway."""


class Item(NamedTuple):
    """A line of a stream, or something else that is shown as a whole."""

    key: tuple[str, str]
    """Its kind, ``stdout``, ``stderr`` or another that the caller distinguishes, and its text.
    Items with the same key are merged."""
    text: str = ""
    """What to show instead, where texts that are not the same count as equal."""
    is_notice: bool = False
    """Whether it is a warning or a log line of a library."""

    @property
    def kind(self) -> str:
        """The first half of its key."""
        return self.key[0]

    @property
    def shown(self) -> str:
        """Its text."""
        return self.text or self.key[1]


class Merged(NamedTuple):
    """An item, and the ranks that printed it."""

    ranks: tuple[int, ...]
    item: Item


@dataclass
class _Queue:
    items: deque[Item] = field(default_factory=deque)
    times: deque[float] = field(default_factory=deque)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many items of each key there are."""
    taken: int = 0

    def push(self, item: Item, now: float) -> bool:
        """Put an item in; return whether it is the only one of its key."""
        self.items.append(item)
        self.times.append(now)
        number = self.counts[item.key] = self.counts.get(item.key, 0) + 1
        return number == 1

    def pop(self) -> bool:
        """Take the first item out; return whether it was the only one of its key."""
        key = self.items.popleft().key
        self.times.popleft()
        self.taken += 1
        number = self.counts.pop(key)
        if number > 1:
            self.counts[key] = number - 1
        return number == 1


class Merger:
    """Takes items of ranks as they arrive, returns them merged when they are due."""

    def __init__(self, ranks: Collection[int]) -> None:
        self._queues = {rank: _Queue() for rank in sorted(ranks)}
        self._holders: dict[tuple[str, str], int] = {}
        """By key, how many ranks have an item of it in their queues."""
        self._size = 0
        self._patience = {True: _LONGEST_FOR_NOTICES, False: LONGEST}
        """For notices, and for the rest."""
        self._expected: frozenset[int] = frozenset()
        self._until = 0.0

    def expect(self, ranks: Collection[int], now: float) -> None:
        """Wait longer for the next items of these ranks: they reply to the same command."""
        self._expected, self._until = frozenset(ranks), now + _FOR_REPLIES

    def push(self, rank: int, item: Item, now: float) -> None:
        """Take an item that a rank printed at ``now`` (seconds, any monotonic clock)."""
        if self._queues[rank].push(item, now):
            self._holders[item.key] = self._holders.get(item.key, 0) + 1
        self._size += 1

    def due(self, running: Collection[int], now: float) -> tuple[list[Merged], float]:
        """Return what is to be shown now.

        Args:
            running: Ranks that may still print.
            now: The time, by the clock of :meth:`push`.

        Returns:
            The items, in order, and the seconds until the next one may be due (infinity: none
            waits).
        """
        out: list[Merged] = []
        while self._size:
            first = self._next()
            if self._size >= _FLOOD and self._own(first):
                out += self._run_of(first)
                continue
            item = self._queues[first].items[0]
            blocker = self._printed_something_before(item, first)
            if blocker is not None:
                out.append(self._take(self._queues[blocker].items[0]))
                continue
            wait = self._queues[first].times[0] + self._patience[item.is_notice] - now
            if now < self._until and self._may_follow(self._expected.intersection(running)):
                wait = max(wait, self._until - now)
            if wait > 0 and self._size < _FLOOD and self._may_follow(running):
                return out, wait
            out.append(self._take(item, now))
        if not running:  # all stand at a prompt: what they were told, they say from the lowest on
            for queue in self._queues.values():
                queue.taken = 0
        return out, float("inf")

    def _next(self) -> int:
        """The rank whose turn it is.

        The oldest item comes first. But where items came at about the same time, because ranks are
        in step, the n-th items of all ranks stay together, in the order of the ranks.
        """
        waiting = [(rank, queue) for rank, queue in self._queues.items() if queue.items]
        latest = min(queue.times[0] for _, queue in waiting) + LONGEST
        return min((queue.taken, rank) for rank, queue in waiting if queue.times[0] <= latest)[1]

    def _own(self, rank: int) -> bool:
        """Whether no other rank has the first item of this one in its queue."""
        return self._holders[self._queues[rank].items[0].key] == 1

    def _run_of(self, rank: int) -> list[Merged]:
        """Take what a rank prints until another prints it too: the quick way through a flood."""
        items, holders, alone = self._queues[rank].items, self._holders, (rank,)
        out = []
        while self._size >= _FLOOD and items and holders[items[0].key] == 1:
            out.append(Merged(alone, items[0]))
            self._pop(rank)
        return out

    def _pop(self, rank: int) -> None:
        """Take the first item of a rank out."""
        queue = self._queues[rank]
        key = queue.items[0].key
        if queue.pop():
            left = self._holders.pop(key) - 1
            if left:
                self._holders[key] = left
        self._size -= 1

    def _printed_something_before(self, item: Item, first: int) -> int | None:
        """A rank that printed ``item`` too, after something that rank ``first`` did not print."""
        of_first = self._queues[first].counts
        for rank, queue in self._queues.items():
            if queue.items and item.key in queue.counts and queue.items[0].key != item.key:
                # Two ranks that print the same two things in opposite order must not wait for
                # each other.
                return rank if queue.items[0].key not in of_first else None
        return None

    def _may_follow(self, running: Collection[int]) -> bool:
        """Whether a rank with an empty queue may be about to print the same."""
        return any(not self._queues[rank].items for rank in running if rank in self._queues)

    def _take(self, item: Item, now: float | None = None) -> Merged:
        ranks = [rank for rank, q in self._queues.items() if q.items and q.items[0].key == item.key]
        if now is not None and len(self._queues) > 1 and self._size < _FLOOD:
            times = [self._queues[rank].times[0] for rank in ranks]
            self._learn(item, len(ranks), max(times) - min(times), now - min(times))
        for rank in ranks:
            self._pop(rank)
        return Merged(tuple(ranks), item)

    def _learn(self, item: Item, sharers: int, skew: float, waited: float) -> None:
        patience = self._patience[item.is_notice]
        if sharers > 1 and skew > 0:
            patience = _LONGEST_FOR_NOTICES if item.is_notice else LONGEST
        elif sharers == 1 and waited >= min(patience, _NOTICEABLE):
            patience = max(patience / 2, SHORTEST)
        self._patience[item.is_notice] = patience
