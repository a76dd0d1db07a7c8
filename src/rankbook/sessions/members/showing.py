"""Asking ranks at any time what they hold, to draw it."""

from __future__ import annotations

from rankbook.errors import InputError
from rankbook.models import load
from rankbook.models.meshes import NamedMesh
from rankbook.models.shown import Held, Show, Shown
from rankbook.sessions.members.party import Party

__all__ = ["shown"]


def shown(party: Party, expression: str, mesh: NamedMesh | None) -> Shown:
    """Ask ranks what they hold; the answer names those that did not answer in time.

    Args:
        party: The ranks.
        expression: A name, with attributes and indices.
        mesh: Their mesh, if its dimensions have names.

    Raises:
        InputError: No rank that answers has such a value.
    """
    call = party.look(Show(expression))
    call.raise_for_failure()
    found = {rank: load(Held, value) for rank, value in sorted(call.values.items())}
    errors = [held.error for held in found.values() if held.error]
    if errors and len(errors) == len(found):
        raise InputError(errors[0] if errors[0].endswith(".") else f"{expression}: {errors[0]}.")
    return Shown(expression, found, tuple(sorted(set(party) - found.keys())), mesh)
