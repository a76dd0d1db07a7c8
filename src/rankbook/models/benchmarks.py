"""How long a collective takes, by size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Benchmark", "Fit", "Measured", "Timings"]


@dataclass(frozen=True)
class Timings:
    """The measurements of one rank."""

    group: tuple[int, ...]
    """Global ranks of the group that it measured in, its own among them."""
    device: str
    seconds: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    """By size in bytes, seconds of one operation, once for each repetition."""
    host: str = ""


@dataclass(frozen=True)
class Measured:
    """One size."""

    nbytes: int
    seconds: float
    """Of one operation: the median of the repetitions, each as slow as its slowest rank."""
    spread: float
    """Between the fastest and the slowest half of the repetitions, seconds."""
    algorithm: float
    """Algorithm bandwidth: bytes per second."""
    bus: float
    """Bus bandwidth: scaled to what each link carries, so comparable between operations."""


@dataclass(frozen=True)
class Fit:
    """``seconds = latency + nbytes / bandwidth``, by least squares of the relative errors."""

    latency: float
    """Seconds: alpha."""
    bandwidth: float
    """Bytes per second: 1/beta, of the algorithm; 0: the sizes do not tell."""
    error: float
    """The root mean square of the relative errors of the fit."""


@dataclass(frozen=True, repr=False)
class Benchmark:
    """A collective, measured over sizes."""

    collective: str
    rows: tuple[Measured, ...]
    fit: Fit | None
    """The fit; None for a single size."""
    ranks: int
    """Number of ranks of a group."""
    groups: int
    """How many groups measured at the same time."""
    backend: str
    device: str
    link: str
    """What carried the bytes, in words."""
    factor: float
    """The factor of the bus bandwidth: ``2 (n - 1) / n`` for all_reduce."""
