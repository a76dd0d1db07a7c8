"""Asking ranks what they run with."""

from __future__ import annotations

from rankbook.models import load
from rankbook.models.environment import Environment
from rankbook.models.requests import SayEnvironment
from rankbook.sessions.members.party import Party

__all__ = ["environments"]


def environments(party: Party) -> dict[int, Environment]:
    """By rank, what its process runs with, of those that answer; whatever they do.

    Raises:
        EngineError: None knows the question: they have another version of rankbook.
    """
    call = party.look(SayEnvironment())
    if not call.values:
        call.raise_for_failure()
    return {rank: load(Environment, value) for rank, value in sorted(call.values.items())}
