"""Telling ranks how much of their output was read, so that they do not print faster than that."""

from __future__ import annotations

from collections import Counter

from rankbook.models import events
from rankbook.models.requests import Acknowledge
from rankbook.sessions.members import Members

__all__ = ["Acknowledging"]

_EVERY = 500_000
"""How much is read until a rank is told: most cells print less."""


class Acknowledging:
    """Counts what the ranks of a cell have printed."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._read: Counter[int] = Counter()
        self._told: Counter[int] = Counter()

    def take(self, rank: int, body: events.Event) -> None:
        """Count an event of a rank that was just read."""
        if not isinstance(body, events.Stream):
            return
        self._read[rank] += events.effort(body.text)
        if self._read[rank] - self._told[rank] >= _EVERY:
            self._told[rank] = self._read[rank]
            self._members.ranks([rank]).request(Acknowledge(self._read[rank])).forget()
