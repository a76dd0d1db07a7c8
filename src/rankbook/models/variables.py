"""Variables of a rank in transit: pickled, in buffers sent with the JSON."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.wire import Request

__all__ = ["Pull", "Push"]


@dataclass(frozen=True)
class Pull(Request):
    """Send a variable; the answer says whether it exists, and its buffer has the pickle."""

    name: str
    op = "pull"


@dataclass(frozen=True)
class Push(Request):
    """Set variables from the request's buffers."""

    names: tuple[str, ...]
    """Names, in the order of the buffers."""
    op = "push"
