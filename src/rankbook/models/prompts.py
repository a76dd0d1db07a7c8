"""Answers to a rank at a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.wire import Request

__all__ = ["Answer"]


@dataclass(frozen=True)
class Answer(Request):
    """Answer a question of a rank; the reply says whether it was still open."""

    number: int
    """Number of the question: :attr:`rankbook.models.events.Asks.number`."""
    text: str
    """A line, without its end."""
    op = "answer"
