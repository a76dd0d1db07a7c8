"""What crosses a process border: frozen, typed, made of JSON's types only.

``to_dict`` and :func:`load` take them over a wire that carries JSON.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = [
    "ON_HANG",
    "CellSpan",
    "Collective",
    "Diagnosis",
    "EngineFacts",
    "Failure",
    "Gpu",
    "GroupInfo",
    "Look",
    "RankState",
    "Recorded",
    "Snapshot",
    "how_ended",
    "load",
    "to_dict",
]

_T = TypeVar("_T")

ON_HANG = ("free", "report", "wait")
"""What to do when it is proven that a cell cannot end: free its ranks, only say so, nothing."""


@dataclass(frozen=True)
class EngineFacts:
    """What one engine says about where it stands; placement is computed from these alone."""

    engine: int
    """Its id in the cluster."""
    host: str
    """Host name. Engines with the same one share GPUs and count local ranks together."""
    addresses: tuple[str, ...]
    """IPv4 addresses of the host, the likeliest first, loopback left out."""
    pid: int
    gpus: tuple[str, ...]
    """Names of the GPUs the process may use, by local index."""
    cwd: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    """Pairs of a package and its version: python, torch, rankbook."""


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


@dataclass(frozen=True)
class Gpu:
    """A rank's GPU at one moment, as NVML reports it: whatever all processes do with it."""

    name: str
    used: int
    """Memory in use, bytes."""
    total: int
    """Memory that it has, bytes."""
    utilization: int | None = None
    """Percent of the last moment in which it computed; None where the driver does not say."""


@dataclass(frozen=True)
class Failure:
    """An exception on a rank."""

    ename: str
    """Name of its class."""
    evalue: str
    traceback: tuple[str, ...] = ()
    """Lines as IPython formats them, with ANSI colours."""
    when: float = 0.0
    """Seconds since the epoch, by the engine's clock."""
    freed: bool = False
    """Whether the cell ended here because the session interrupted it or freed the rank."""
    line: str = ""
    """Where in the cell: ``line 3: dist.all_reduce(x)``; empty if not in the cell itself."""


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


@dataclass(frozen=True)
class Snapshot:
    """A whole session at one moment: what every view draws."""

    backend: str
    """Empty while there is no group."""
    world_size: int
    generation: int
    doing: str
    """What the session is busy with, in words; empty when it is ready."""
    states: tuple[RankState, ...] = ()
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
    number: int = 0
    """Of two of a session, the one with the higher number was begun later."""


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
class Diagnosis:
    """What the ranks of a session do or wait for, and why."""

    kind: str
    """``idle, running, missing_rank, mismatch, raised, dead, slow`` or ``unknown``."""
    ranks: tuple[int, ...]
    """The culprits; empty if there are none."""
    summary: str
    """The verdict, in one sentence."""
    per_rank: Mapping[int, str] = field(default_factory=dict)
    """By rank, what it does, in a few words."""
    stuck: tuple[int, ...] = ()
    """Ranks that wait and cannot go on, whatever those still do that run."""
    proven: bool = False
    """Whether it is certain that the ``stuck`` ranks stay stuck until they are freed."""


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


@dataclass(frozen=True)
class CellSpan:
    """When a cell ran on the ranks."""

    number: int
    """What tracebacks call it; 0 where it is not a cell of the notebook."""
    label: str
    """Its first line."""
    started: float
    """Seconds since the epoch by the notebook's clock."""
    ended: float | None = None
    """The same; None while it runs."""


_NESTED: dict[str, dict[str, Any]] = {
    "Look": {"waiting": Collective, "recent": Collective},
    "RankState": {"info": GroupInfo, "gpu": Gpu},
    "Snapshot": {"states": RankState},
}
"""Which fields hold models themselves, one or a tuple of them."""


def to_dict(value: Any) -> dict[str, Any]:
    """Turn a model into plain dicts and lists."""
    return dataclasses.asdict(value)


def load(cls: type[_T], data: dict[str, Any]) -> _T:
    """Make a ``cls`` from what :func:`to_dict` gave, after a trip through JSON.

    Fields that this version does not know are left out, so that a session can join engines of
    a newer one.
    """
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = {k: _frozen(v) for k, v in data.items() if k in known}
    for name, model in _NESTED.get(cls.__name__, {}).items():
        inner = values.get(name)
        if isinstance(inner, dict):
            values[name] = load(model, inner)
        elif isinstance(inner, tuple):
            values[name] = tuple(load(model, each) for each in inner)
    return cls(**values)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def how_ended(status: int | None) -> str:
    """Say how a process ended: ``was killed by SIGKILL``, ``ended with exit code 3``."""
    if status is None:
        return "has ended"
    if status < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit code {status}"
