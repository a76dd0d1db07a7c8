"""The profile of a cell on its ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.calls import Call
from rankbook.models.wire import Request

__all__ = ["Profile", "Share", "StartProfile", "TakeProfile", "Taken", "Waited"]


@dataclass(frozen=True)
class StartProfile(Request):
    """Start torch's profiler; the answer is the seconds that it adds to an operation."""

    op = "start_profile"


@dataclass(frozen=True)
class TakeProfile(Request):
    """Stop the profiler; the answer is :class:`Taken`, with the compressed trace."""

    op = "take_profile"


@dataclass(frozen=True)
class Taken:
    """A rank's recording of a cell."""

    host: str
    started: float
    """When the cell began, seconds since the epoch by the engine's clock."""
    main: int
    """``threading.get_ident()`` of the thread that ran it."""
    calls: tuple[Call, ...] = ()
    """Calls of torch.distributed, the oldest first."""
    dropped: int = 0
    """How many earlier calls were not kept."""


@dataclass(frozen=True)
class Waited:
    """One wait of one rank for ranks that came later."""

    rank: int
    seconds: float
    op: str
    number: int
    line: str
    """Where it waited."""
    last: int
    """The rank that came last."""
    came: bool = True
    """Whether it came at all."""


@dataclass(frozen=True)
class Share:
    """Where the time of one rank went, seconds."""

    cell: float
    """The whole cell."""
    computing: float
    """The rest, in which its main thread did not wait for a call."""
    communicating: float
    """In calls, after the last rank had come."""
    waiting: float
    """In calls, until the last rank had come."""
    overhead: float = 0.0
    """The estimated cost of recording: operations times the cost of one."""


@dataclass(frozen=True, repr=False)
class Profile:
    """A cell's time on its ranks, and where the trace is."""

    path: str
    """Path of the trace; empty if there is none."""
    shares: Mapping[int, Share] = field(default_factory=dict)
    """By rank."""
    worst: tuple[Waited, ...] = ()
    """The longest waits for other ranks."""
    events: int = 0
    clock_error: float = 0.0
    """The most seconds by which the clocks of two hosts may differ in the trace."""
    notes: tuple[str, ...] = ()
