"""Asking ranks for their versions, hardware and environment."""

from __future__ import annotations

from rankbook.models import load
from rankbook.models.environment import Environment
from rankbook.models.requests import GetEnvironment
from rankbook.sessions.members.party import Party

__all__ = ["environments"]


def environments(party: Party) -> dict[int, Environment]:
    """By rank, the environment of its process, for those that answer; at any time.

    Raises:
        EngineError: No rank knows the request: they have another version of rankbook.
    """
    call = party.look(GetEnvironment())
    if not call.values:
        call.raise_for_failure()
    return {rank: load(Environment, value) for rank, value in sorted(call.values.items())}
