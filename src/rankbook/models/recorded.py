"""What the timeline draws."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Recorded"]


@dataclass(frozen=True)
class Recorded:
    """One collective on one rank as torch's flight recorder kept it: a bar of the timeline."""

    id: int
    """The recorder's own number: consecutive on a rank, over all groups."""
    op: str
    """``all_reduce`` …"""
    group: str
    """torch's name of the process group, the same on all its ranks."""
    ranks: tuple[int, ...]
    """The group's global ranks; empty: every rank."""
    seq: int
    """Its number in the group, from 1: the same on all ranks."""
    generation: int
    """The session's process group under which it was called."""
    created: float
    """When it was called, seconds since the epoch by the engine's clock."""
    ended: float | None = None
    """When the call returned, or the work was done; None: it has not, or that was not seen."""
    done: bool = False
    """Whether it has completed."""
    nbytes: int = 0
    """Size of its input, bytes."""
    failed: bool = False
    """Whether the call raised: freed, interrupted, or left by its peers."""
