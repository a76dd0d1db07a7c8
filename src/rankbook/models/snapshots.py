"""A whole session at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.looks import Look
from rankbook.models.meshes import NamedMesh
from rankbook.models.verdicts import Diagnosis

__all__ = ["Snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """A whole session at one moment: what every view draws."""

    backend: str
    """Empty while there is no group."""
    world_size: int
    generation: int
    doing: str
    """What the session is busy with, in words; empty when it is ready."""
    states: tuple[Look, ...] = ()
    """The ranks, by rank, then engines that are no rank."""
    cluster: str = ""
    """What another notebook joins the cluster by."""
    verdict: Diagnosis | None = None
    """Why the cell that runs cannot end, as far as is seen, or the last one could not; None if
    nothing was wrong with it."""
    hangs: bool = False
    """Whether ``verdict`` is of a cell that still runs."""
    turn: int = 0
    """Which of the things it was asked for it is busy with, from 1; 0 when it is ready."""
    ends: str = ""
    """What ends by itself, a job at its time limit: ``job 8``; empty if nothing does."""
    ends_in: float = 0.0
    """Seconds until then."""
    ended: str = ""
    """Why that has ended already: ``Slurm ended job 8: time limit``."""
    mesh: NamedMesh | None = None
    """Where the ranks stand, if their dimensions have names."""
    number: int = 0
    """Of two of a session, the one with the higher number was begun later."""
