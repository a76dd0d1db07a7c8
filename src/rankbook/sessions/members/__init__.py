"""Which engine is which rank, and which engines live. Rooms above this one name no engines."""

from __future__ import annotations

from rankbook.sessions.members.members import Members
from rankbook.sessions.members.party import Party, RankCall

__all__ = ["Members", "Party", "RankCall"]
