"""Who is which rank, and who lives. Above this room nobody names an engine."""

from __future__ import annotations

from rankbook.sessions.members.members import Members
from rankbook.sessions.members.party import Party, RankCall

__all__ = ["Members", "Party", "RankCall"]
