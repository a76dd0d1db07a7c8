"""Bringing variables from ranks, and sending some to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankbook import values
from rankbook.errors import InputError
from rankbook.models.meshes import NamedMesh
from rankbook.models.requests import Pull, Push
from rankbook.ranks import label
from rankbook.sessions.members.party import Party
from rankbook.words import in_words

__all__ = ["pull", "push"]


def pull(party: Party, name: str, mesh: NamedMesh | None = None) -> dict[int, Any]:
    """Bring a variable here; see :meth:`rankbook.sessions.session.Session.pull`.

    Args:
        party: The ranks to ask.
        name: The variable's name there.
        mesh: Its dimensions name the ranks, too.
    """
    call = party.request(Pull(name))
    call.wait()
    call.raise_for_failure()
    owners = [rank for rank in party if call.values[rank]]
    if len(owners) < len(party):
        where = f"only on {in_words(owners, mesh)}" if owners else f"on none of {in_words(party)}"
        hint = f"; use -r {label(owners, mesh)}" if owners else ""
        raise InputError(f"{name!r} exists {where}{hint}.")
    return {rank: _loaded(call.buffers(rank)[0], name, rank) for rank in party}


def _loaded(data: memoryview, name: str, rank: int) -> Any:
    try:
        return values.loads(data)
    except Exception as error:  # noqa: BLE001 - __setstate__ can raise anything
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name!r} of rank {rank} cannot be made here ({type(error).__name__}: {reason}): pull "
            "what it is made from, for example its state_dict()."
        ) from None


def push(party: Party, variables: Mapping[str, bytes]) -> None:
    """Send pickled variables.

    Args:
        party: The ranks to send to.
        variables: By name, their bytes.
    """
    call = party.request(Push(tuple(variables)), list(variables.values()))
    call.wait()
    call.raise_for_failure()
