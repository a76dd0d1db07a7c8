"""What a diagnosis says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.meshes import NamedMesh

__all__ = ["Diagnosis"]


@dataclass(frozen=True)
class Diagnosis:
    """What the ranks of a session do or wait for, and why."""

    kind: str
    """``idle, running, missing_rank, mismatch, raised, dead, slow`` or ``unknown``."""
    ranks: tuple[int, ...]
    """The culprits; empty if there are none."""
    summary: str
    """The verdict, in one sentence."""
    per_rank: Mapping[int, str] = field(default_factory=dict)
    """By rank, what it does, in a few words."""
    stuck: tuple[int, ...] = ()
    """Ranks that wait and cannot go on, whatever the running ranks still do."""
    proven: bool = False
    """Whether it is certain that the ``stuck`` ranks stay stuck until they are freed."""
    hint: str = ""
    """What it often is, and the remedy, in a line; and that it is only likely, where it is."""
    mesh: NamedMesh | None = None
    """The mesh whose dimensions name the ranks, too."""
