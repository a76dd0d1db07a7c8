"""A whole session at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.brief import Brief
from rankbook.models.looks import Look
from rankbook.models.meshes import NamedMesh
from rankbook.models.verdicts import Diagnosis

__all__ = ["Snapshot"]


@dataclass(frozen=True, repr=False)
class Snapshot(Brief):
    """A whole session at one moment: what every view draws."""

    backend: str
    """Empty while there is no group."""
    world_size: int
    generation: int
    doing: str
    """What the session is busy with, in words; empty when it is ready."""
    states: tuple[Look, ...] = ()
    """The ranks, by rank, then engines that are not ranks."""
    cluster: str = ""
    """The id with which another notebook joins the cluster."""
    verdict: Diagnosis | None = None
    """Why the running cell cannot end, as far as is seen, or why the last one could not; None if
    nothing was wrong with it."""
    hangs: bool = False
    """Whether ``verdict`` is about a cell that still runs."""
    turn: int = 0
    """The number of its present turn, from 1; 0 when it is ready."""
    ends: str = ""
    """The job that ends at its time limit: ``job 8``; empty if there is none."""
    ends_in: float = 0.0
    """Seconds until then."""
    ended: str = ""
    """Why that has ended already: ``Slurm ended job 8: time limit``."""
    mesh: NamedMesh | None = None
    """The mesh of the ranks, if its dimensions have names."""
    number: int = 0
    """A number that grows with every snapshot of a session."""
