"""Exceptions that a rank has caught and kept, and because of which it is elsewhere than others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rankbook.models import Look
from rankbook.models.looks import Kept

__all__ = ["with_causes"]


def with_causes(looks: Mapping[int, Look]) -> Mapping[int, Look]:
    """Take an exception that a rank has kept for one that it handles, where it is the cause.

    It is, where another rank waits in the lines that this one was thrown out of.
    """
    return {rank: _with_cause(rank, looks) for rank in looks}


def _with_cause(rank: int, looks: Mapping[int, Look]) -> Look:
    look = looks[rank]
    others = [other for each, other in looks.items() if each != rank]
    for kept in look.kept:
        if not look.handles and any(_is_still_there(other, kept) for other in others):
            return replace(look, handles=kept.error, raised_at=kept.line)
    return look


def _is_still_there(look: Look, kept: Kept) -> bool:
    """Whether a rank waits in the lines that an exception has left, and has not raised the same."""
    is_there = any(lines.have(place) for lines in kept.left for place in look.path)
    return is_there and all(other.error != kept.error for other in look.kept)
