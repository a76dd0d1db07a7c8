"""Whether a click is still meant when it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LATEST", "Click", "why_stale"]

LATEST = 2.0
"""Seconds after which a click counts as made for a state that is gone."""


@dataclass(frozen=True)
class Click:
    """What the page says of a click."""

    do: str
    at: float
    """When it was, seconds since the epoch by the kernel's clock as the page knows it."""
    during: int = 0
    """The ``Snapshot.turn`` that the page showed then."""
    form: Mapping[str, Any] = field(default_factory=dict)


def why_stale(click: Click, now: float, busy_with: int) -> str:
    """Say why a click is not to be carried out; empty if it is.

    A kernel that runs a cell may hear of clicks only when the cell has ended. What the person
    wanted to happen to that cell must not happen to what comes next.

    Args:
        click: Of which the page tells.
        now: Seconds since the epoch.
        busy_with: The same as ``during``, at this moment.
    """
    if click.during and click.during != busy_with:
        return "what it was meant for has ended by itself"
    if now - click.at > LATEST:
        return f"the kernel heard of it only {now - click.at:.0f} s later"
    return ""
