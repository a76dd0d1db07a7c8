"""A rank's place in its process group."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GroupInfo"]


@dataclass(frozen=True)
class GroupInfo:
    """A ``DistInfo`` in JSON's types: ``device`` is ``str(torch.device)``."""

    backend: str
    rank: int
    world_size: int
    device: str
    is_main: bool
    local_rank: int = 0
    generation: int = 0
    timeout_minutes: float = 1
    """Of every collective of the group."""
    check: bool = False
    """Whether every collective is compared across ranks before it runs."""
