"""How long a collective takes, by size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Benchmark", "Fit", "Measured", "Timings"]


@dataclass(frozen=True)
class Timings:
    """What one rank has measured."""

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
    """Bandwidth as the algorithm sees it: bytes by seconds."""
    bus: float
    """The same, times what the operation moves over each link: comparable between operations."""


@dataclass(frozen=True)
class Fit:
    """``seconds = latency + nbytes / bandwidth``, by least squares of the relative errors."""

    latency: float
    """Seconds: alpha."""
    bandwidth: float
    """Bytes per second: 1/beta, of the algorithm; 0: the sizes do not tell."""
    error: float
    """By how much a measurement departs from it, as a share of itself: the root of the mean
    square."""


@dataclass(frozen=True, repr=False)
class Benchmark:
    """A collective, measured over sizes."""

    collective: str
    rows: tuple[Measured, ...]
    fit: Fit | None
    """None of one size."""
    ranks: int
    """Of a group."""
    groups: int
    """How many groups measured at the same time."""
    backend: str
    device: str
    link: str
    """What the bytes went over, in words."""
    factor: float
    """Of the bus bandwidth: ``2 (n - 1) / n`` for all_reduce."""
