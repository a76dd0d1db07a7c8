"""Device meshes that ranks make differently: of other shapes, or with other names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rankbook.diagnosis.phrases import shortened
from rankbook.diagnosis.wording import Words, grouped, outside_majority
from rankbook.models import Look
from rankbook.models.meetings import MeshMaking
from rankbook.words import sentence_start

__all__ = ["HINT", "Unlike", "holds_up", "sentence", "unlike"]

HINT = (
    "Every rank must make the same meshes in the same order, with the same shape and the same "
    "names: a mesh makes groups of all ranks."
)


@dataclass(frozen=True)
class Unlike:
    """Meshes of several ranks that ought to be one."""

    made: Mapping[int, MeshMaking]
    culprits: tuple[int, ...]
    """Those that differ from the majority; without one, all."""


def unlike(looks: Mapping[int, Look]) -> Unlike | None:
    """Find the first mesh that ranks have made differently; None if there is none."""
    places = sorted({(each.epoch, each.nth) for look in looks.values() for each in look.meshes})
    for place in places:
        made = {
            rank: each
            for rank, look in looks.items()
            for each in look.meshes
            if (each.epoch, each.nth) == place
        }
        sorts = _sorts(made)
        if len(sorts) > 1:
            return Unlike(made, outside_majority(sorts))
    return None


def holds_up(found: Unlike, looks: Mapping[int, Look], stuck: Collection[int]) -> bool:
    """Whether ranks that wait in vain do so in a group of such a mesh."""
    made = found.made
    return any(_waits_in(looks[rank], made[rank]) for rank in stuck if rank in made)


def sentence(words: Words, found: Unlike) -> str:
    """Say who has made which mesh, and where."""
    made = found.made

    def say(ranks: tuple[int, ...]) -> str:
        making = made[ranks[0]]
        at = f" ({shortened(making.line)})" if making.line else ""
        return f"{words.do(ranks, 'make')} a mesh of {_described(making)}{at}"

    first, *others = _sorts(made)
    return f"{sentence_start(say(first))}, where {words.listed(others, say, 'others')}."


def _sorts(made: Mapping[int, MeshMaking]) -> list[tuple[int, ...]]:
    """The ranks that have made the same mesh, together."""
    return grouped(made, lambda rank: (made[rank].shape, made[rank].names))


def _waits_in(look: Look, mesh: MeshMaking) -> bool:
    """Whether a rank waits in a group that it has made, or makes, for a mesh."""
    call = look.waiting
    if call is None or not call.group:
        return False
    named = [each for each in look.groups if each.name == call.group]
    return bool(named) and named[-1].line == mesh.line and named[-1].epoch == mesh.epoch


def _described(mesh: MeshMaking) -> str:
    if not mesh.names:
        return f"shape {mesh.shape}"
    named = zip(mesh.names, mesh.shape, strict=False)
    return f"shape ({', '.join(f'{name}={length}' for name, length in named)})"
