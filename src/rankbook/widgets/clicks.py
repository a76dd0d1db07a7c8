"""Whether a click is still meant when it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LATEST", "Click", "why_stale"]

LATEST = 2.0
"""Seconds after which a click counts as meant for a state that is gone."""


@dataclass(frozen=True)
class Click:
    """A click, as the page reports it."""

    do: str
    age: float
    """Seconds since it was made."""
    during: int = 0
    """The ``Snapshot.turn`` that the page showed then; 0 if the session was ready."""
    form: Mapping[str, Any] = field(default_factory=dict)


def why_stale(click: Click, busy_with: int) -> str:
    """Say why a click must not be carried out; empty if it may be.

    A kernel that runs a cell may receive clicks only when the cell has ended. An action that was
    meant for that cell must not hit the next one.

    Args:
        click: As the page reports it.
        busy_with: The present turn, 0 if the session is ready: then a click cannot hit anything
            by mistake.
    """
    if click.during and busy_with and click.during != busy_with:
        return "the cell had ended already"
    if click.age > LATEST:
        return f"the kernel received it only {click.age:.0f} s later"
    return ""
