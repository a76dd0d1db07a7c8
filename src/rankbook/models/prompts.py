"""A rank that stands at a prompt, and what is said to it."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.wire import Request

__all__ = ["Answer"]


@dataclass(frozen=True)
class Answer(Request):
    """Answer what a rank asks; the answer to this says whether it still asked."""

    number: int
    """Of the question: :attr:`rankbook.models.events.Asks.number`."""
    text: str
    """A line, without its end."""
    op = "answer"
