"""Comparing a value across ranks: the reports of ranks, and the result."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.meshes import NamedMesh
from rankbook.models.wire import Request

__all__ = [
    "CHUNK",
    "Chunks",
    "Departure",
    "Diff",
    "Drop",
    "Fingerprint",
    "Leaf",
    "LeafDiff",
    "Prints",
    "SendChunks",
]

CHUNK = 256 * 1024
"""How many bytes of a value are compared, and sent, together."""


@dataclass(frozen=True)
class Fingerprint(Request):
    """Evaluate an expression and return its leaves; the answer is :class:`Prints`.

    The value is kept on the rank until :class:`Drop`.
    """

    expression: str
    op = "fingerprint"


@dataclass(frozen=True)
class Chunks(Request):
    """Return the hashes of a leaf's chunks, a list."""

    path: str
    op = "chunks"


@dataclass(frozen=True)
class SendChunks(Request):
    """Send chunks of a leaf with the answer."""

    path: str
    numbers: tuple[int, ...]
    op = "send_chunks"


@dataclass(frozen=True)
class Drop(Request):
    """Drop the compared value."""

    op = "drop_compared"


@dataclass(frozen=True)
class Leaf:
    """One part of a value that has no parts: a tensor, a number, a text."""

    path: str
    """``0.weight``, ``['lr']``; empty: the value itself."""
    kind: str
    """``tensor``, or the name of its class; ``list`` of many numbers."""
    digest: str = ""
    """Equal on two ranks if every bit is, NaN excepted; empty: it cannot be compared."""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    device: str = ""
    requires_grad: bool = False
    part: str = ""
    """Which shard of a DTensor: only equal ones are compared."""
    layout: str = ""
    """A DTensor's global shape, mesh and placements."""
    nbytes: int = 0
    nans: int = 0
    infs: int = 0
    text: str = ""
    """A short value, as ``repr`` has it."""
    why: str = ""
    """Why it cannot be compared."""


@dataclass(frozen=True)
class Prints:
    """The leaves of a value on one rank."""

    error: str = ""
    """One line about the exception that the expression raised; empty: none."""
    leaves: tuple[Leaf, ...] = ()
    is_cut: bool = False
    """Whether there are more, which were not looked at."""
    made: tuple[tuple[str, str], ...] = ()
    """Paths of what has parts, and their classes; ``0.training`` of a module, and ``True``."""


@dataclass(frozen=True)
class Departure:
    """Ranks whose leaf differs from the majority's."""

    ranks: tuple[int, ...]
    why: str
    """``max |Δ| 0.001 at [3, 4]``, ``shape 3x4, not 3x5``, ``it is missing``."""


@dataclass(frozen=True)
class LeafDiff:
    """A leaf, compared."""

    path: str
    kind: str
    agree: tuple[int, ...]
    """The largest set of ranks that agree; of equally large ones, that with the lowest rank."""
    departures: tuple[Departure, ...] = ()
    part: str = ""
    nans: tuple[tuple[int, int], ...] = ()
    """Rank and number of NaN or infinite values, where there are any."""
    why: str = ""
    """Why it cannot be compared."""


@dataclass(frozen=True)
class Diff:
    """A value compared across ranks."""

    expression: str
    ranks: tuple[int, ...]
    summary: str
    """One sentence."""
    leaves: tuple[LeafDiff, ...] = ()
    mesh: NamedMesh | None = None
    """The mesh whose dimensions name the ranks, too."""

    @property
    def agree(self) -> bool:
        """Whether nothing differs."""
        return not any(leaf.departures for leaf in self.leaves)
