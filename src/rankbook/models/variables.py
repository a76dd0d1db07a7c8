"""Variables of a rank on their way: pickled, in buffers beside the JSON."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.wire import Request

__all__ = ["Pull", "Push"]


@dataclass(frozen=True)
class Pull(Request):
    """Send a variable back; the answer says whether there is one, its buffer holds the pickle."""

    name: str
    op = "pull"


@dataclass(frozen=True)
class Push(Request):
    """Set variables to what the request's buffers hold."""

    names: tuple[str, ...]
    """In the order of the buffers."""
    op = "push"
