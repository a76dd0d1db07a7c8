"""What a rank reports about itself."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.engines import Gpu
from rankbook.models.groups import GroupInfo
from rankbook.models.wire import Request

__all__ = ["Collective", "Look", "LookAt", "RankState", "SayStacks", "SayState"]


@dataclass(frozen=True)
class SayState(Request):
    """Say what the rank does, for a view; the answer is a :class:`RankState`."""

    op = "state"


@dataclass(frozen=True)
class LookAt(Request):
    """Say what the rank does, for a diagnosis; the answer is a :class:`Look`."""

    op = "look"


@dataclass(frozen=True)
class SayStacks(Request):
    """Say where the main thread stands; the answer is a list of lines."""

    op = "stacks"


@dataclass(frozen=True)
class Collective:
    """One call of ``torch.distributed`` on one rank: what it is in, or what was recorded of it."""

    op: str
    """The function's name: ``all_reduce``, ``recv`` …; ``wait`` for a handle of which no more is
    known."""
    group: str = ""
    """torch's name of the process group, the same on all its ranks; empty: unknown."""
    ranks: tuple[int, ...] = ()
    """The group's global ranks; empty: every rank."""
    seq: int | None = None
    """Its number in the group, as the flight recorder counts them; None: it does not record it."""
    sizes: tuple[tuple[int, ...], ...] = ()
    """Shapes of the tensors; empty: unknown, or none."""
    dtypes: tuple[str, ...] = ()
    """``float32`` …, in the order of ``sizes``."""
    peer: int | None = None
    """Global rank of the root, or of the other end of a send or recv; None: any, or none."""
    done: bool = False
    """Whether it has completed on this rank."""
    since: float = 0.0
    """Seconds since it was called, at the moment of the look."""


@dataclass(frozen=True)
class Look:
    """What one rank does, and what it called lately: what a diagnosis is made from."""

    state: str
    """``idle``, ``running`` (Python), ``waiting`` (in torch.distributed); the session adds
    ``no answer`` and ``gone``."""
    line: str = ""
    """Where it stands: ``line 3: dist.all_reduce(x)`` of the cell, or what it does instead."""
    cell: int | None = None
    """Number of the cell that runs, None if none does."""
    waiting: Collective | None = None
    """What the main thread waits in, if it does."""
    recent: tuple[Collective, ...] = ()
    """The latest calls that the flight recorder kept, of every group, the newest last."""
    still: float = 0.0
    """Seconds for which, as far as was seen, the main thread neither moved nor computed."""
    quiet: float = 0.0
    """Seconds for which, as far as was seen, no thread of the process computed."""
    silent: float | None = None
    """Seconds for which no data went to or came from another rank; None where none can, or where
    the system does not say."""
    raised: str = ""
    """One line about the exception that ended the cell on this rank, empty if it did not."""
    ended: str = ""
    """How the process ended, of a rank that is gone: ``was killed by SIGKILL``."""
    last_words: tuple[str, ...] = ()
    """The last lines that it wrote to standard error, of a rank that is gone."""


@dataclass(frozen=True)
class RankState:
    """One rank at one moment, as its control thread sees it."""

    engine: int
    state: str
    """``idle``, ``running`` or ``collective``; the session adds ``no answer`` and ``gone``."""
    info: GroupInfo | None = None
    """None where the engine is in no process group."""
    host: str = ""
    pid: int = 0
    activity: str = ""
    """What the main thread does: the collective, or the line of the cell."""
    since: float = 0.0
    """Seconds for which it has been doing that: since the collective was called, or the cell
    began."""
    cell: int | None = None
    """Number of the cell that runs."""
    memory: int = 0
    """Resident memory of the process, bytes."""
    memory_total: int = 0
    """Memory of its host, bytes; 0: unknown."""
    gpu_memory: int | None = None
    """Memory allocated by torch on the rank's GPU, bytes; None without a GPU in use."""
    gpu: Gpu | None = None
    """The rank's GPU; None without one, or without NVML."""
    last_error: str = ""
    """One line about the last exception, empty if the last cell ended well."""
