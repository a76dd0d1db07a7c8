"""Asking ranks for the values of a cell's calls."""

from __future__ import annotations

from rankbook.errors import InputError
from rankbook.models import load
from rankbook.models.exchanges import Exchanges, GetKept, KeptCalls
from rankbook.models.meshes import NamedMesh
from rankbook.sessions.members.party import Party

__all__ = ["exchanges"]


def exchanges(party: Party, mesh: NamedMesh | None) -> Exchanges:
    """The values that ranks kept of the latest cell that was run with ``keep_values``.

    Args:
        party: The ranks.
        mesh: Their mesh, if its dimensions have names.

    Raises:
        InputError: Nothing was kept.
    """
    call = party.look(GetKept())
    call.raise_for_failure()
    kept = {rank: load(KeptCalls, value) for rank, value in sorted(call.values.items())}
    if kept and not any(each.calls for each in kept.values()):
        raise InputError(
            "No values were kept: run a cell that calls collectives with %%dist --keep-values "
            "(or run(code, keep_values=True))."
        )
    return Exchanges(kept, tuple(sorted(set(party) - kept.keys())), mesh)
