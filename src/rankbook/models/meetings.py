"""Where ranks meet before they have a group, and the meshes that they make of groups."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Meets", "MeshMaking"]


@dataclass(frozen=True)
class Meets:
    """Where a rank meets others that have no group yet, and as which of them."""

    at: str
    """Host and port, or a file."""
    rank: int | None = None
    """Its number among them, by its own account; of a store, 0 if it serves it; None: any."""
    size: int = 0
    """How many they are, by its own account; 0: not known."""
    only_ranks: bool = False
    """Whether only ranks of the session can come there."""
    or_children: bool = False
    """Whether processes that code has started here may come there, too, if ``only_ranks``."""
    timeout: float | None = None
    """Seconds after which it gives up, if the caller said so."""
    prefix: str | None = None
    """Below which prefix of a store; empty: none; None: not known."""

    @property
    def others_may_come(self) -> bool:
        """Whether any other process may come there than a rank of the session."""
        return self.or_children or not self.only_ranks


@dataclass(frozen=True)
class MeshMaking:
    """A device mesh that a rank made, or is making."""

    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    """Of its dimensions; empty: it has none."""
    nth: int = 0
    """From 1, among those of its epoch."""
    epoch: int = 0
    """As :attr:`rankbook.models.calls.Making.epoch`."""
    line: str = ""
    """Where it was made, as :attr:`rankbook.models.calls.Making.line`."""
